"""Options in a request: those of `mrnn caption`, by their names in Python."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from mrnn.captioning.caption_search import photos_at_once
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.options import OPTIONS, in_flags, options_of
from mrnn.errors import OptionsError, printable
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.server.problems import Problem

REPEATED = ("force_words", "bad_words")
FIELDS = {**DecodingOptions.model_fields, **RerankingOptions.model_fields}
CONSENSUS = "consensus"
NAMES = (*OPTIONS, CONSENSUS)
LEAST_BATCH, LARGEST_BATCH = 16, 64
"""Photos that are captioned together; the processors share them."""
MOST_HYPOTHESES = 2000
"""Hypotheses of a photo at each step of a search."""


@dataclass(frozen=True)
class CaptionOptions:
    """What a request asks for."""

    decoding: DecodingOptions
    reranking: RerankingOptions
    consensus: bool = False
    """Whether hypotheses are reranked by each other."""

    @property
    def batch(self) -> int:
        """Most photos of a batch."""
        return min(max(photos_at_once(self.decoding), LEAST_BATCH), LARGEST_BATCH)


def caption_options(given: Iterable[tuple[str, str]], checkpoint: Checkpoint) -> CaptionOptions:
    """From the names and values of a query and a form, and the model's defaults.

    Raises Problem, which says what the command would, and which option it is.
    """
    values = values_of(given, NAMES, REPEATED)
    consensus = values.pop(CONSENSUS, ["none"])[0]
    if consensus not in ("self", "none"):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"--consensus {printable(consensus)!r:.60}: give self or none; DATA is for the command",
            option=CONSENSUS,
        )
    asked = {name: _typed(name, texts) for name, texts in values.items()}
    try:
        decoding, reranking = options_of(checkpoint.config, asked)
        Constraints.of(decoding, checkpoint.vocabulary).check(decoding)
    except OptionsError as error:
        line = in_flags(str(error))
        raise Problem(HTTPStatus.BAD_REQUEST, line, option=_option_in(line, asked)) from None
    _check_cost(decoding)
    return CaptionOptions(decoding, reranking, consensus == "self")


def values_of(
    given: Iterable[tuple[str, str]], names: Sequence[str], repeated: Sequence[str] = ()
) -> dict[str, list[str]]:
    """The values by name. Raises Problem for a name that there is not, or that comes twice."""
    values: dict[str, list[str]] = {}
    for name, value in given:
        if name not in names:
            near = difflib.get_close_matches(name.replace("-", "_"), names, 1, 0.5)
            mend = f"the nearest is {near[0]}" if near else f"there are {', '.join(names)}"
            line = f"No such option: {printable(name):.60}; {mend}"
            raise Problem(HTTPStatus.BAD_REQUEST, line, option=printable(name)[:60])
        if name in values and name not in repeated:
            line = f"{name} is given twice; give it once"
            raise Problem(HTTPStatus.BAD_REQUEST, line, option=name)
        values.setdefault(name, []).append(value)
    return values


def number_in(given: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number of a query. Raises Problem for one that is out of bounds, or none."""
    text = given.get(name)
    if text is None:
        return default
    with suppress(ValueError):
        if least <= (number := int(text)) <= most:
            return number
    line = (
        f"{name}: expected a whole number from {least:,} to {most:,}, not {printable(text)!r:.60}"
    )
    raise Problem(HTTPStatus.BAD_REQUEST, line, option=name)


def _typed(name: str, texts: Sequence[str]) -> object:
    """As the command line reads it: numbers are numbers, if they can be."""
    if name in REPEATED:
        return list(texts)
    kind = FIELDS[name].annotation
    if kind in (int, float):
        with suppress(ValueError):
            return kind(texts[0])
    return texts[0] if kind is str else printable(texts[0])


def _option_in(line: str, asked: Mapping[str, object]) -> str:
    """The option that a message begins with."""
    name = line.split(":")[0].split(" ")[0].split(",")[0].removeprefix("--").replace("-", "_")
    return name if name in asked else ""


def _check_cost(decoding: DecodingOptions) -> None:
    """Raises Problem for a search that would keep all others waiting."""
    banks = len(decoding.force_words) + 1
    rows = decoding.group_size * decoding.beam_groups * banks
    if rows > MOST_HYPOTHESES:
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            f"{rows:,} hypotheses at each step, {MOST_HYPOTHESES:,} are the most on a server; "
            "lower --beam-size, --n-best or the number of --force-words",
        )
