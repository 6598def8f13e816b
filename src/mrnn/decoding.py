"""From a language model to sentences: greedy and beam search. Knows no network and no text.

Letters: N images, K beam, V vocabulary, R recurrent, M multimodal, X rows (sentences in progress).
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mrnn.vocabulary import Vocabulary


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


class DecodingOptions(BaseModel):
    """How sentences are searched for. The only home of these defaults and checks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    beam_size: int = Field(default=3, ge=1, le=1000)
    """Hypotheses kept at each step; 1 is greedy search."""
    n_best: int = Field(default=1, ge=1, le=1000)
    """Hypotheses returned; the beam is widened to as many."""
    maximum_words: int = Field(default=30, ge=1, le=1000)
    length_exponent: float = Field(default=0.7, ge=0, le=2)
    """A finished hypothesis scores log P / length^this, its end sign counted; 0 is plain log P."""

    @property
    def width(self) -> int:
        """The beam that is really searched."""
        return max(self.beam_size, self.n_best)


@dataclass(frozen=True)
class Hypothesis:
    """A finished sentence: word ids without signs."""

    words: tuple[int, ...]
    word_log_probabilities: tuple[float, ...]
    """Nats, one a word and one more for the end sign."""
    score: float
    """What the hypotheses of an image are ordered by."""

    @property
    def log_probability(self) -> float:
        """Of the whole sentence, its end sign included; nats."""
        return sum(self.word_log_probabilities)


@torch.inference_mode()
def decode(
    model: LanguageModel, seen: Float[Tensor, "N M"], options: DecodingOptions
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each image, best first.

    Beam search with length normalisation. The beam's width counts unfinished hypotheses; an
    image is done when as many have finished. A hypothesis has at least one word and at most
    `maximum_words`, after which only the end sign may come; the unknown and start signs never do.
    Fewer than `n_best` come back only where fewer sentences exist. Ties go to the lower word id.
    """
    beam = _Beam.start(model, len(seen), options.width)
    finished: list[list[Hypothesis]] = [[] for _ in range(len(seen))]
    images = torch.arange(len(seen))
    for step in range(options.maximum_words + 1):
        rows_seen = seen[images].repeat_interleave(beam.width, 0)
        log_probs, state = model.advance(beam.last_words, beam.state, rows_seen)
        log_probs[:, [Vocabulary.START, Vocabulary.UNKNOWN]] = -torch.inf
        if step == 0:
            log_probs[:, Vocabulary.END] = -torch.inf
        if step == options.maximum_words:
            ends = log_probs[:, Vocabulary.END].clone()
            log_probs.fill_(-torch.inf)[:, Vocabulary.END] = ends
        beam, ended = beam.extend(log_probs, state)
        for place, hypotheses in enumerate(ended):
            length = (step + 1) ** options.length_exponent
            finished[int(images[place])] += [
                Hypothesis(words, log_probs, sum(log_probs) / length)
                for words, log_probs in hypotheses
            ]
        short = [len(finished[int(i)]) < options.width for i in images]
        going_on = torch.tensor(short, dtype=torch.bool) & beam.alive()
        if not going_on.any():
            break
        images, beam = images[going_on], beam.select(going_on)
    return [sorted(hypotheses, key=lambda h: -h.score)[: options.n_best] for hypotheses in finished]


@dataclass(frozen=True)
class _Beam:
    """The unfinished hypotheses of all images: N x K of them, K = `width`, best first."""

    width: int
    words: Int[Tensor, "N K T"]
    word_log_probs: Float[Tensor, "N K T"]
    totals: Float[Tensor, "N K"]
    """Minus infinity where there is no hypothesis."""
    state: Float[Tensor, "X R"]

    @classmethod
    def start(cls, model: LanguageModel, images: int, width: int) -> "_Beam":
        state = model.begin(images * width)
        totals = state.new_full((images, width), -torch.inf)
        totals[:, 0] = 0
        words = torch.empty(images, width, 0, dtype=torch.long)
        return cls(width, words, state.new_empty(images, width, 0), totals, state)

    @property
    def last_words(self) -> Int[Tensor, " X"]:
        if self.words.shape[2] == 0:
            return torch.full((self.totals.numel(),), Vocabulary.START)
        return self.words[:, :, -1].flatten()

    def alive(self) -> Bool[Tensor, " N"]:
        return self.totals[:, 0] > -torch.inf

    def select(self, keep: Bool[Tensor, " N"]) -> "_Beam":
        """The beam of some of the images."""
        state = self.state[keep.repeat_interleave(self.width)]
        parts = (self.words[keep], self.word_log_probs[keep], self.totals[keep])
        return _Beam(self.width, *parts, state)

    def extend(
        self, log_probs: Float[Tensor, "X V"], state: Float[Tensor, "X R"]
    ) -> tuple["_Beam", list[list[tuple[tuple[int, ...], tuple[float, ...]]]]]:
        """The beam one word longer, and the hypotheses that ended among each image's best K."""
        images, width = self.totals.shape
        vocabulary = log_probs.shape[1]
        sums = self.totals[:, :, None] + log_probs.view(images, width, vocabulary)
        # Of 2 K candidates at most K end, as each hypothesis has one end sign: K go on.
        count = min(2 * width, width * vocabulary)
        best, places = sums.flatten(1).topk(count)
        parents, words = places // vocabulary, places % vocabulary
        steps = log_probs.view(images, width * vocabulary).gather(1, places)
        ends = words == Vocabulary.END
        ended: list[list[tuple[tuple[int, ...], tuple[float, ...]]]] = [[] for _ in range(images)]
        complete = (ends & (best > -torch.inf))[:, :width]
        for image, k in complete.nonzero().tolist():
            parent = int(parents[image, k])
            log_probs_so_far = self.word_log_probs[image, parent].tolist()
            ended[image].append(
                (
                    tuple(self.words[image, parent].tolist()),
                    (*log_probs_so_far, float(steps[image, k])),
                )
            )
        # Of those that do not end the first K, in order; a stable sort puts the ends last.
        order = ends.to(torch.int8).sort(dim=1, stable=True).indices[:, :width]
        totals = best.masked_fill(ends, -torch.inf).gather(1, order)
        parents, words, steps = (x.gather(1, order) for x in (parents, words, steps))
        rows = (torch.arange(images)[:, None] * width + parents).flatten()
        history = parents[:, :, None].expand(-1, -1, self.words.shape[2])
        beam = _Beam(
            width,
            torch.cat([self.words.gather(1, history), words[:, :, None]], 2),
            torch.cat([self.word_log_probs.gather(1, history), steps[:, :, None]], 2),
            totals,
            state[rows],
        )
        return beam, ended
