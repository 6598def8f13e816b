"""Options of decoding and reranking on the command line; `mrnn.model.config` has their defaults."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.model.config import CheckpointConfig, DecodingOptions, RerankingOptions

Asked = Mapping[str, Any]
"""The fields of `DecodingOptions` and `RerankingOptions` that the user gave."""
BeamSize = Annotated[
    int | None, typer.Option(help="Hypotheses kept while searching; 1 is greedy search")
]
SimilarityWeight = Annotated[
    float | None,
    typer.Option(help="Reranking: weight of the similarity of photo and caption; 0 ignores it"),
]
PredictedCiderWeight = Annotated[
    float | None, typer.Option(help="Reranking: weight of the predicted CIDEr; 0 ignores it")
]
ThingWeight = Annotated[
    float | None,
    typer.Option(help="Reranking: weight of how likely people name the same things; 0 ignores it"),
]
FLAGS: dict[str, Any] = {
    "beam_size": BeamSize,
    "similarity_weight": SimilarityWeight,
    "predicted_cider_weight": PredictedCiderWeight,
    "thing_weight": ThingWeight,
    "n_best": Annotated[int | None, typer.Option(help="Captions for each photo")],
    "min_length": Annotated[int | None, typer.Option(help="Least number of words")],
    "max_length": Annotated[int | None, typer.Option(help="Greatest number of words")],
    "no_repeat_ngram": Annotated[
        int | None, typer.Option(help="No n-gram of this length occurs twice; 0 allows all")
    ],
    "force_words": Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word that every caption contains; may be repeated"),
    ],
    "bad_words": Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word that no caption contains; may be repeated"),
    ],
    "prefix": Annotated[
        str | None, typer.Option(metavar="TEXT", help="What every caption begins with")
    ],
    "beam_groups": Annotated[
        int | None, typer.Option(help="Parts of the beam that differ from each other")
    ],
    "diversity_penalty": Annotated[
        float | None,
        typer.Option(help="Nats that a word costs for each earlier group that took it"),
    ],
    "temperature": Annotated[
        float | None,
        typer.Option(help="Sample captions: 1 from the model's distribution, less for safer ones"),
    ],
    "top_k": Annotated[
        int | None, typer.Option(help="Sample from this many of the likeliest words only")
    ],
    "top_p": Annotated[
        float | None, typer.Option(help="Sample from the likeliest words of this probability only")
    ],
    "seed": Annotated[
        int | None, typer.Option(help="The same seed samples the same captions for a photo")
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
        try:
            command(*args, **given, asked=asked)
        except OptionsError as error:
            raise OptionsError(_in_flags(str(error))) from error

    with_flags.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *flags]
    )
    return with_flags


def options_of(
    config: "CheckpointConfig", asked: Asked
) -> "tuple[DecodingOptions, RerankingOptions]":
    """The model's defaults with what was asked for; OptionsError names what is impossible."""
    from pydantic import ValidationError

    def validated(default: "DecodingOptions | RerankingOptions") -> Any:  # noqa: ANN401
        kind = type(default)
        own = {name: value for name, value in asked.items() if name in kind.model_fields}
        try:
            return kind.model_validate({**default.model_dump(), **own})
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:  # each option is possible, but not with the others
                raise OptionsError(_in_flags(str(first["ctx"]["error"]))) from error
            flag = flag_of(str(first["loc"][0]))
            raise OptionsError(f"{flag}: {first['msg']}, not {first['input']!r:.60}") from error

    return validated(config.decoding), validated(config.reranking)


def flag_of(field: str) -> str:
    """What an option is called on the command line."""
    return f"--{field.replace('_', '-')}"


def _in_flags(message: str) -> str:
    """A message about fields, in the words of the command line: --max-length for max_length."""
    long = "|".join(name for name in FLAGS if "_" in name)
    short = "|".join(name for name in FLAGS if "_" not in name)
    pattern = rf"(?<!['\"\w])(?:{long})\b|^(?:{short})\b"
    return re.sub(pattern, lambda field: flag_of(field[0]), message)
