"""What captions invent: things that no reference of the image names.

A thing is a line of `things.txt`, whatever word stands for it; however often a caption names it,
it counts once.

Letters: N images.
Source: Rohrbach et al., "Object Hallucination in Image Captioning", EMNLP 2018: CHAIR_i of words,
with a list of things and against references alone.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeVar

import numpy as np

from mrnn.metrics.ngrams import Words, check_pairs
from mrnn.shapes import Float, Int

NOTHING = "nothing"  # the line whose phrases name no thing
GRAVE = frozenset({"person", "dog"})
"""Things that a reader of captions minds most when they are not there."""
AGREED = 2  # references that must name a thing before a caption is expected to

Word = TypeVar("Word", bound=Hashable)
Thing = TypeVar("Thing", bound=Hashable)
Phrases = Mapping[Word, tuple[tuple[tuple[Word, ...], Thing], ...]]
"""By their first word: phrases, the longest first, each with its thing."""


@dataclass(frozen=True)
class Things:
    """Words and phrases, and the things that they name."""

    phrases: Phrases[str, str]

    @classmethod
    def parse(cls, text: str) -> "Things":
        """Lines of `thing: word, phrase, ...`; the thing is a word for itself, # a comment."""
        found = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            thing, _, others = line.partition(":")
            words = others.split(",") if thing == NOTHING else [thing, *others.split(",")]
            found += [(tuple(word.split()), thing) for word in words if word.split()]
        return cls(by_first_word(found))

    @property
    def names(self) -> frozenset[str]:
        """All things."""
        pairs = (pair for phrases in self.phrases.values() for pair in phrases)
        return frozenset(thing for _, thing in pairs) - {NOTHING}

    def named(self, words: Words) -> frozenset[str]:
        """The things that a caption names, read from the left; the longest phrase wins."""
        return frozenset(named_by_phrases(words, self.phrases) - {NOTHING})


def by_first_word(pairs: Iterable[tuple[tuple[Word, ...], Thing]]) -> Phrases[Word, Thing]:
    """Phrases and their things by the first word, the longest phrase first."""
    found: dict[Word, list[tuple[tuple[Word, ...], Thing]]] = {}
    for phrase, thing in pairs:
        found.setdefault(phrase[0], []).append((phrase, thing))
    return {
        word: tuple(sorted(phrases, key=lambda pair: -len(pair[0])))
        for word, phrases in found.items()
    }


def named_by_phrases(words: Sequence[Word], phrases: Phrases[Word, Thing]) -> set[Thing]:
    """The things of the phrases in a sentence, read from the left; the longest phrase wins."""
    found, place = set(), 0
    while place < len(words):
        step = 1
        for phrase, thing in phrases.get(words[place], ()):
            if tuple(words[place : place + len(phrase)]) == phrase:
                found.add(thing)
                step = len(phrase)
                break
        place += step
    return found


@cache
def read_things() -> Things:
    """The things of `things.txt`, read once."""
    file = resources.files("mrnn.metrics").joinpath("things.txt")
    return Things.parse(file.read_text(encoding="utf-8"))


def invented_things(
    caption: Words, references: Sequence[Words], things: Things | None = None
) -> list[str]:
    """The things that a caption names and no reference does, by alphabet."""
    things = things or read_things()
    return sorted(things.named(caption).difference(*map(things.named, references)))


def invention_counts(
    captions: Sequence[Words], references: Sequence[Sequence[Words]], things: Things | None = None
) -> Int[np.ndarray, "N 5"]:
    """What the figures need of each image; the rows of a corpus are summed.

    Columns: things named by the caption; of these, invented; 1 where a person or a dog is
    invented; things that two references or the only one name; of these, named by the caption.
    Raises DataError where captions and references do not belong together.
    """
    check_pairs(captions, references)
    things = things or read_things()
    rows = np.zeros((len(captions), 5), dtype=np.int64)
    for row, caption, sentences in zip(rows, captions, references, strict=True):
        ours, theirs = things.named(caption), [things.named(words) for words in sentences]
        invented = ours.difference(*theirs)
        least = min(AGREED, len(theirs))
        expected = {
            thing
            for thing in frozenset().union(*theirs)
            if sum(thing in named for named in theirs) >= least
        }
        found = ours & expected
        row[:] = len(ours), len(invented), bool(invented & GRAVE), len(expected), len(found)
    return rows


def invention_figures(
    counts: Int[np.ndarray, "*N 5"] | Float[np.ndarray, "*N 5"],
) -> Float[np.ndarray, "*N 3"]:
    """What captions invent, of each row of counts; a fraction of no things is 0.

    Columns: the fraction of named things that are invented, how many captions invent a person or a
    dog, and the fraction of expected things that are named.
    """
    part, whole = counts[..., [1, 4]].astype(np.float64), counts[..., [0, 3]]
    fractions = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.insert(fractions, 1, counts[..., 2], axis=-1)
