"""Hypotheses, unfinished and finished, and the interface of a network for decoding.

Letters: N images, X unfinished hypotheses of all images, S state, M multimodal, V vocabulary,
T words, C candidates.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mrnn.shapes import Bool, Float, Int
from mrnn.tokenizer import Vocabulary

LANES = 128
"""Parts of the vocabulary whose maxima bound the best candidates."""
ROWS_FOR_BOUND = 8
"""The bound looks at this many times the candidates that are sought."""
ROUNDING = 1e-3
"""Nats; more than the error of a sum of log-probabilities in float32."""


@runtime_checkable
class LanguageModel(Protocol):
    """The interface of a network for decoding."""

    def initial_state(self, count: int) -> Float[np.ndarray, "X S"]:
        """The states of `count` sentences before their first word."""
        ...

    def step(
        self,
        words: Int[np.ndarray, " X"],
        state: Float[np.ndarray, "X S"],
        image: Float[np.ndarray, "X M"],
    ) -> tuple[Float[np.ndarray, "X V"], Float[np.ndarray, "X S"]]:
        """Log-probabilities (nats) of the word after `words`, and the new states."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A finished sentence: word ids without special tokens."""

    words: tuple[int, ...]
    word_log_probabilities: tuple[float, ...]
    """Nats, one a word and one more for `<eos>`; the model's own, whatever the options."""
    score: float
    """The score that orders the hypotheses of an image."""

    @property
    def log_probability(self) -> float:
        """Of the whole sentence, `<eos>` included; nats."""
        return sum(self.word_log_probabilities)


def length_normalized(word_log_probabilities: tuple[float, ...], length_penalty: float) -> float:
    """The score of a finished sentence: log P / length^penalty, `<eos>` counted."""
    return float(sum(word_log_probabilities) / len(word_log_probabilities) ** length_penalty)


@dataclass(frozen=True)
class Candidates:
    """Next words of hypotheses; those of an image lie together, best first."""

    rows: Int[np.ndarray, " C"]
    """The hypothesis that each extends."""
    words: Int[np.ndarray, " C"]
    scores: Float[np.ndarray, " C"]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, kept: Bool[np.ndarray, " C"] | Int[np.ndarray, " _"]) -> "Candidates":
        """Some of them."""
        return Candidates(self.rows[kept], self.words[kept], self.scores[kept])

    @classmethod
    def concatenate(cls, parts: "list[Candidates]") -> "Candidates":
        """All of some."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.words for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )


def choose(
    log_probs: Float[np.ndarray, "X V"],
    totals: Float[np.ndarray, " X"],
    images: Int[np.ndarray, " X"],
    width: int,
) -> tuple[Candidates, Candidates]:
    """The `width` best of each image that go on, and those that end among the `width` best of all.

    A candidate's score is the total of its row and its log-probability. `images` tells the image of
    each row, in rising order. Ties go to the lower row, then to the lower word id.
    """
    # Of 2 K candidates at most K end, as each hypothesis has one <eos>: K go on.
    bounds = _lower_bounds(log_probs, totals, images, 2 * width)
    places = np.flatnonzero((log_probs >= bounds[:, None]).ravel())
    rows, words = np.divmod(places, log_probs.shape[1])
    found = Candidates(rows, words, log_probs.ravel()[places] + totals[rows])
    image = images[rows]
    order = np.lexsort((-found.scores, image))
    found, image = found.select(order), image[order]
    ends = found.words == Vocabulary.EOS
    first = np.searchsorted(image, image)
    place = np.arange(len(found)) - first
    going = np.cumsum(~ends) - ~ends
    before = going - going[first] if len(found) else going
    return found.select(~ends & (before < width)), found.select(ends & (place < width))


def _lower_bounds(
    log_probs: Float[np.ndarray, "X V"],
    totals: Float[np.ndarray, " X"],
    images: Int[np.ndarray, " X"],
    count: int,
) -> Float[np.ndarray, " X"]:
    """For each row a log-probability that the `count` best candidates of its image reach.

    The maxima of parts of the vocabulary are candidates themselves, even those of the first rows
    alone, which are the best so far: the `count`-th of them is no better than the `count`-th of
    all.
    """
    least = np.finfo(log_probs.dtype).min  # above minus infinity
    bounds = np.full(len(log_probs), least)
    lanes = max(1, min(LANES, log_probs.shape[1]))
    parts = log_probs.shape[1] // lanes
    enough = -(-ROWS_FOR_BOUND * count // lanes)
    starts = np.flatnonzero(np.diff(images, prepend=-1))
    sizes = np.diff(starts, append=len(images))
    for size in set(sizes.tolist()):
        if size * lanes < count:
            continue
        rows = starts[sizes == size][:, None] + np.arange(size)
        first = rows[:, : min(size, enough)].ravel()
        sampled = log_probs[first, : parts * lanes].reshape(len(first), parts, lanes)
        maxima = sampled.max(axis=1) + totals[first, None]
        maxima = maxima.reshape(len(rows), -1)
        edge = np.partition(maxima, maxima.shape[1] - count, axis=1)[:, maxima.shape[1] - count]
        # A little lower: the sum of a candidate's score may be rounded otherwise.
        bounds[rows] = np.maximum(edge[:, None] - totals[rows] - ROUNDING, least)
    return bounds


@dataclass(frozen=True)
class Unfinished:
    """The unfinished hypotheses of all images; those of an image lie together, by group."""

    images: Int[np.ndarray, " X"]
    groups: Int[np.ndarray, " X"]
    words: Int[np.ndarray, "X T"]
    word_log_probs: Float[np.ndarray, "X T"]
    state: Float[np.ndarray, "X S"]
    totals: Float[np.ndarray, " X"]
    """The scores of the choice: log-probabilities, with noise if words are sampled."""

    @classmethod
    def start(cls, model: LanguageModel, images: int, groups: int = 1) -> "Unfinished":
        """Before the first word: one hypothesis a group of each image."""
        count = images * groups
        state = model.initial_state(count)
        return cls(
            np.repeat(np.arange(images), groups),
            np.tile(np.arange(groups), images),
            np.empty((count, 0), np.int64),
            np.empty((count, 0), state.dtype),
            state,
            np.zeros(count, state.dtype),
        )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def last_words(self) -> Int[np.ndarray, " X"]:
        """The next input of the model; `<bos>` at first."""
        if self.words.shape[1] == 0:
            return np.full(len(self), Vocabulary.BOS)
        return self.words[:, -1]

    def select(self, kept: Bool[np.ndarray, " X"] | Int[np.ndarray, " _"]) -> "Unfinished":
        """Some of them."""
        return Unfinished(
            self.images[kept], self.groups[kept], self.words[kept], self.word_log_probs[kept],
            self.state[kept], self.totals[kept],
        )  # fmt: skip

    def extend(
        self,
        candidates: Candidates,
        log_probs: Float[np.ndarray, "X V"],
        state: Float[np.ndarray, "X S"],
    ) -> "Unfinished":
        """One word longer."""
        rows, words = candidates.rows, candidates.words
        steps = log_probs[rows, words].astype(self.word_log_probs.dtype)
        return Unfinished(
            self.images[rows],
            self.groups[rows],
            np.concatenate([self.words[rows], words[:, None]], axis=1),
            np.concatenate([self.word_log_probs[rows], steps[:, None]], axis=1),
            state[rows],
            candidates.scores,
        )

    def finish(self, row: int, end_log_probability: float, length_penalty: float) -> Hypothesis:
        """One of them with its `<eos>`."""
        steps = (*self.word_log_probs[row].tolist(), end_log_probability)
        score = length_normalized(steps, length_penalty)
        return Hypothesis(tuple(self.words[row].tolist()), steps, score)
