"""The options of decoding on the command line; their defaults and checks are `DecodingOptions`'."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.model.config import DecodingOptions, RerankingOptions

    Options = TypeVar("Options", DecodingOptions, RerankingOptions)

Asked = Mapping[str, Any]
"""The fields of `DecodingOptions` that the user gave."""
BeamSize = Annotated[
    int | None, typer.Option(help="Hypotheses kept while searching; 1 is greedy search")
]
SimilarityWeight = Annotated[
    float | None,
    typer.Option(help="Weight of the similarity of caption and photo; 0 leaves it out"),
]
PredictedCiderWeight = Annotated[
    float | None,
    typer.Option(help="Weight of the predicted CIDEr-D of a caption; 0 leaves it out"),
]
FLAGS: dict[str, Any] = {
    "beam_size": BeamSize,
    "similarity_weight": SimilarityWeight,
    "predicted_cider_weight": PredictedCiderWeight,
    "n_best": Annotated[int | None, typer.Option(help="Captions for each photo")],
    "minimum_words": Annotated[
        int | None, typer.Option("--min-words", help="Words that a caption has at least")
    ],
    "maximum_words": Annotated[
        int | None, typer.Option("--max-words", help="Words that a caption has at most")
    ],
    "no_repeat_ngram": Annotated[
        int | None, typer.Option(help="No run of so many words comes twice; 0 allows all")
    ],
    "must": Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word that every caption has; may be repeated"),
    ],
    "must_not": Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word that no caption has; may be repeated"),
    ],
    "prefix": Annotated[
        str | None, typer.Option(metavar="TEXT", help="What every caption begins with")
    ],
    "diverse_groups": Annotated[
        int | None, typer.Option(help="Search in so many groups that differ from each other")
    ],
    "diversity_penalty": Annotated[
        float | None, typer.Option(help="How much the groups are made to differ")
    ],
    "temperature": Annotated[
        float | None,
        typer.Option(help="Draw captions by chance: 1 as the model has it, less for safer ones"),
    ],
    "top_k": Annotated[
        int | None, typer.Option(help="Draw from so many of the likeliest words only")
    ],
    "top_p": Annotated[
        float | None, typer.Option(help="Draw from the likeliest words of this share only")
    ],
    "seed": Annotated[
        int | None, typer.Option(help="The same seed draws the same captions for a photo")
    ],
}


def takes_decoding_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the flags to a command, which gets what was given as its argument `asked`."""
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "asked"]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag)
        for name, flag in FLAGS.items()
    ]

    @functools.wraps(command)
    def with_flags(*args: Any, **given: Any) -> None:  # noqa: ANN401
        flags = {name: given.pop(name, None) for name in FLAGS}
        asked = {name: value for name, value in flags.items() if value not in (None, [])}
        command(*args, **given, asked=asked)

    with_flags.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *flags]
    )
    return with_flags


def decoding_options(defaults: "DecodingOptions", asked: Asked) -> "DecodingOptions":
    """The defaults with what was asked for; OptionsError names what is impossible."""
    return _options(defaults, asked, "decoding")


def reranking_options(defaults: "RerankingOptions", asked: Asked) -> "RerankingOptions":
    """As `decoding_options`, of what else was asked for."""
    return _options(defaults, asked, "reranking")


def _options(defaults: "Options", asked: Asked, table: str) -> "Options":
    from pydantic import ValidationError

    from mrnn.training.recipe import options_error

    form = type(defaults)
    own = {name: value for name, value in asked.items() if name in form.model_fields}
    try:
        return form.model_validate({**defaults.model_dump(), **own})
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"]:
            flag = _flag_of(str(first["loc"][0]))
            raise OptionsError(f"{flag}: {first['msg']}, not {first['input']!r}") from error
        raise options_error(error, form, table) from error


def _flag_of(field: str) -> str:
    (option,) = FLAGS[field].__metadata__
    named = isinstance(option.default, str)  # typer keeps a name of its own there
    return option.default if named else f"--{field.replace('_', '-')}"
