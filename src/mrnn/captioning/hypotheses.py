"""Sentences, in progress and finished, and what decoding needs of a network.

Letters as in `mrnn.captioning.decode`; S the hypotheses of one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mrnn.tokenizer import Vocabulary


@runtime_checkable
class LanguageModel(Protocol):
    """What decoding needs of a network."""

    def begin(self, count: int) -> Float[Tensor, "X R"]:
        """The states of `count` sentences before their first word."""
        ...

    def advance(
        self, words: Int[Tensor, " X"], state: Float[Tensor, "X R"], seen: Float[Tensor, "X M"]
    ) -> tuple[Float[Tensor, "X V"], Float[Tensor, "X R"]]:
        """Log-probabilities (nats) of the word after `words`, and the new states."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """A finished sentence: word ids without signs."""

    words: tuple[int, ...]
    word_log_probabilities: tuple[float, ...]
    """Nats, one a word and one more for the end sign; the model's own, whatever the options."""
    score: float
    """What the hypotheses of an image are ordered by."""

    @property
    def log_probability(self) -> float:
        """Of the whole sentence, its end sign included; nats."""
        return sum(self.word_log_probabilities)

    def among(self, others: Sequence["Hypothesis"]) -> bool:
        """Whether one of the others has the same words."""
        return any(self.words == other.words for other in others)


@dataclass(frozen=True)
class Choice:
    """The next words of some hypotheses of each image, best first."""

    scores: Float[Tensor, "N S"]
    """What they were chosen by; minus infinity where there is none."""
    parents: Int[Tensor, "N S"]
    """The place of the hypothesis that goes on, among those of its image."""
    words: Int[Tensor, "N S"]

    @classmethod
    def join(cls, parts: Sequence["Choice"]) -> "Choice":
        """All of some choices, one after another."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            torch.cat([part.scores for part in parts], 1),
            torch.cat([part.parents for part in parts], 1),
            torch.cat([part.words for part in parts], 1),
        )

    def places(self, vocabulary: int) -> Int[Tensor, "N S"]:
        """Where the next words lie among those of all hypotheses of an image."""
        return self.parents * vocabulary + self.words


def choose(scores: Float[Tensor, "N K V"], width: int, first: int = 0) -> tuple[Choice, Choice]:
    """The `width` best that go on, and those that end among the `width` best of all.

    `first` is the place of the first hypothesis here among those of its image.
    """
    vocabulary = scores.shape[2]
    # Of 2 K candidates at most K end, as each hypothesis has one end sign: K go on.
    best, places = scores.flatten(1).topk(2 * width)
    parents, words = places // vocabulary + first, places % vocabulary
    ends = words == Vocabulary.END
    ended = Choice(
        best.masked_fill(~ends, -torch.inf)[:, :width], parents[:, :width], words[:, :width]
    )
    # Of those that do not end the first K, in order; a stable sort puts the ends last.
    order = ends.to(torch.int8).sort(dim=1, stable=True).indices[:, :width]
    best = best.masked_fill(ends, -torch.inf)
    return Choice(*(x.gather(1, order) for x in (best, parents, words))), ended


@dataclass(frozen=True)
class Unfinished:
    """The unfinished hypotheses of all images, S each."""

    words: Int[Tensor, "N S T"]
    word_log_probs: Float[Tensor, "N S T"]
    state: Float[Tensor, "X R"]
    """X is N x S."""

    @classmethod
    def start(cls, model: LanguageModel, images: int, each: int) -> "Unfinished":
        """Before the first word."""
        state = model.begin(images * each)
        words = torch.empty(images, each, 0, dtype=torch.long)
        return cls(words, state.new_empty(images, each, 0), state)

    @property
    def last_words(self) -> Int[Tensor, " X"]:
        """What the model hears next; the start sign at first."""
        images, each, step = self.words.shape
        if step == 0:
            return torch.full((images * each,), Vocabulary.START)
        return self.words[:, :, -1].flatten()

    def select(self, keep: Bool[Tensor, " N"]) -> "Unfinished":
        """Those of some of the images."""
        state = self.state[keep.repeat_interleave(self.words.shape[1])]
        return Unfinished(self.words[keep], self.word_log_probs[keep], state)

    def extend(
        self, choice: Choice, log_probs: Float[Tensor, "N S V"], state: Float[Tensor, "X R"]
    ) -> "Unfinished":
        """One word longer."""
        images, each, step = self.words.shape
        rows = (torch.arange(images)[:, None] * each + choice.parents).flatten()
        history = choice.parents[:, :, None].expand(-1, -1, step)
        steps = log_probs.flatten(1).gather(1, choice.places(log_probs.shape[2]))
        return Unfinished(
            torch.cat([self.words.gather(1, history), choice.words[:, :, None]], 2),
            torch.cat([self.word_log_probs.gather(1, history), steps[:, :, None]], 2),
            state[rows],
        )

    def finish(
        self, image: int, place: int, log_probs: Float[Tensor, "N S V"], length_exponent: float
    ) -> Hypothesis:
        """One of them with its end sign."""
        words = tuple(self.words[image, place].tolist())
        end = float(log_probs[image, place, Vocabulary.END])
        steps = (*self.word_log_probs[image, place].tolist(), end)
        return Hypothesis(words, steps, sum(steps) / len(steps) ** length_exponent)
