"""The n-grams of hypotheses and their references, counted once for all measures that need them.

Letters: N images, S sentences, G different n-grams, R rows: an n-gram of a sentence, and how often.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from mrnn.errors import DataError
from mrnn.shapes import Bool, Float, Int

LONGEST = 4  # words in the longest n-gram

Words = Sequence[str]
NGram = tuple[str, ...]
Word = TypeVar("Word", bound=Hashable)


def ngrams(words: Sequence[Word]) -> Counter[tuple[Word, ...]]:
    """How often each run of one to four words occurs in one sentence."""
    return Counter(
        tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)
    )


def check_pairs(hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    """Refuse hypotheses and references that do not belong together."""
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses for the references of {len(references)} images; "
            "expected one hypothesis per image"
        )
    for i, sentences in enumerate(references):
        if not sentences:
            raise DataError(f"Image {i} has no references; expected at least one")


@dataclass(frozen=True)
class NGrams:
    """Runs of one to four words in N hypotheses and, after them, in all references."""

    image: Int[np.ndarray, " S"]
    length: Int[np.ndarray, " S"]  # words
    sentence: Int[np.ndarray, " R"]  # in ascending order
    ngram: Int[np.ndarray, " R"]  # from 0 to G - 1, ascending within a sentence
    count: Int[np.ndarray, " R"]
    longer: Int[np.ndarray, " G"]  # words of each n-gram beyond its first
    start: Int[np.ndarray, " G"]  # where it begins in `words`
    words: list[str]  # of all sentences
    images: int

    @classmethod
    def of(cls, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]) -> "NGrams":
        """Raises DataError where hypotheses and references do not belong together."""
        check_pairs(hypotheses, references)
        images = len(hypotheses)
        sentences = [*hypotheses, *(words for image in references for words in image)]
        sizes = np.array([len(image) for image in references], dtype=np.int64)
        image = np.concatenate([np.arange(images), np.repeat(np.arange(images), sizes)])
        length = np.array([len(words) for words in sentences], dtype=np.int64)
        words = [word for sentence in sentences for word in sentence]
        place, ngram, start = _number(words, length)
        total = sum(map(len, start))
        sentence = np.repeat(np.arange(len(sentences)), length)[place]
        rows, count = np.unique(sentence * total + ngram, return_counts=True)
        sentence, ngram = np.divmod(rows, max(total, 1))
        longer = np.repeat(np.arange(LONGEST), [len(places) for places in start])
        return cls(
            image, length, sentence, ngram, count, longer, np.concatenate(start), words, images
        )

    @cached_property
    def in_hypothesis(self) -> Bool[np.ndarray, " R"]:
        """Whether a row is of a hypothesis."""
        return self.sentence < self.images

    @cached_property
    def same(self) -> tuple[Int[np.ndarray, " M"], Int[np.ndarray, " M"]]:
        """Rows of references whose n-gram their image's hypothesis has too, and its rows."""
        key = self.image[self.sentence] * len(self.longer) + self.ngram
        ours = int(self.in_hypothesis.sum())  # the first rows
        place = np.searchsorted(key[:ours], key[ours:])
        found = np.flatnonzero(place < ours)
        found = found[key[place[found]] == key[ours + found]]
        return ours + found, place[found]

    def spelling(self, ngram: int) -> NGram:
        """The words of an n-gram."""
        start = self.start[ngram]
        return tuple(self.words[start : start + self.longer[ngram] + 1])

    def sums(
        self,
        of: Int[np.ndarray, " M"],
        rows: Int[np.ndarray, " M"],
        values: Int[np.ndarray, " M"] | Float[np.ndarray, " M"],
        total: int,
    ) -> Float[np.ndarray, "T 4"]:
        """Values of rows, summed for each of T = `total` things that they are of, and each n."""
        place = of * LONGEST + self.longer[self.ngram[rows]]
        sums = np.bincount(place, values, minlength=total * LONGEST).astype(np.float64)
        return np.asarray(sums.reshape(total, LONGEST))


def _number(
    words: list[str], length: Int[np.ndarray, " S"]
) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, " T"], list[Int[np.ndarray, " _"]]]:
    """Where each n-gram begins, its number, and for each n one place of every number.

    An n-gram is identified by the number of all but its last word, and by that word.
    """
    ids: dict[str, int] = {}
    last = np.array([ids.setdefault(word, len(ids)) for word in words], dtype=np.int64)
    left = np.repeat(np.cumsum(length), length) - np.arange(len(words))  # words from here on
    shorter = np.zeros(len(words), dtype=np.int64)
    places, numbers, starts, total = [], [], [], 0
    for n in range(LONGEST):
        place = np.flatnonzero(left > n)
        code = shorter[place] * len(ids) + last[place + n]
        different, first, number = np.unique(code, return_index=True, return_inverse=True)
        shorter[place] = number
        places.append(place)
        numbers.append(total + number)
        starts.append(place[first])
        total += len(different)
    return np.concatenate(places), np.concatenate(numbers), starts
