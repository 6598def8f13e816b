"""Options of decoding and reranking on the command line; `mrnn.model.config` has their defaults."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.captioning.options import OPTIONS, Asked, flag_of, in_flags, options_of
from mrnn.cli.terminal import tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.captioning.captioner import Captioner
    from mrnn.model.config import DecodingOptions, RerankingOptions

BeamSize = Annotated[int | None, typer.Option(help=OPTIONS["beam_size"])]
SimilarityWeight = Annotated[float | None, typer.Option(help=OPTIONS["similarity_weight"])]
PredictedCiderWeight = Annotated[float | None, typer.Option(help=OPTIONS["predicted_cider_weight"])]
ThingWeight = Annotated[float | None, typer.Option(help=OPTIONS["thing_weight"])]
WHOLE_NUMBERS = (
    "beam_size", "n_best", "min_length", "max_length", "no_repeat_ngram", "beam_groups", "top_k",
    "seed",
)  # fmt: skip


def _flag(name: str) -> Any:  # noqa: ANN401
    """The type and the help of an option's flag."""
    about = OPTIONS[name]
    if name in ("force_words", "bad_words"):
        return Annotated[list[str] | None, typer.Option(metavar="WORD", help=about)]
    if name == "prefix":
        return Annotated[str | None, typer.Option(metavar="TEXT", help=about)]
    kind = int if name in WHOLE_NUMBERS else float
    return Annotated[kind | None, typer.Option(help=about)]


FLAGS = {name: _flag(name) for name in OPTIONS}


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
            raise OptionsError(in_flags(str(error))) from error

    with_flags.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *flags]
    )
    return with_flags


def told_options(
    captioner: "Captioner", asked: Asked
) -> "tuple[DecodingOptions, RerankingOptions]":
    """The options of a captioner; notes on its consensus and on what it ignores are told."""
    for note in captioner.consensus.notes if captioner.consensus else ():
        tell(f"Note: {note}")
    decoding, reranking = options_of(captioner.checkpoint.config, asked)
    for name, why in captioner.ignored(decoding, reranking).items():
        if name in asked:
            tell(f"Note: {flag_of(name)}: {why}")
    return decoding, reranking
