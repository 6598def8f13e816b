"""Beam search: greedy, plain, in groups that differ, and with words that must appear.

Letters as in `mrnn.captioning.decode`; G groups, S the hypotheses of one image (G x banks x K).
"""

from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import Choice, Hypothesis, LanguageModel, Unfinished, choose
from mrnn.model.config import DecodingOptions


def beam_search(
    model: LanguageModel,
    seen: Float[Tensor, "N M"],
    options: DecodingOptions,
    constraints: Constraints,
) -> list[list[Hypothesis]]:
    """The hypotheses of each image that a beam search with length normalisation finds.

    A group is done when as many of its hypotheses have finished as it keeps unfinished ones.
    Where words must appear it goes on until nothing better can come: the shortest sentences that
    have these words end first, and are seldom the best. Fewer than `n_best` come back only where
    fewer sentences exist, where groups find the same ones, or where a vocabulary of a few words
    leaves nothing to go on with that `no_repeat_ngram` allows.

    Groups are those of Vijayakumar et al. 2016 (algorithm 1, Hamming diversity; the end sign costs
    nothing), and `n_best` takes the best of each before the second of any. Banks are the grid of
    Hokamp and Liu 2017.
    """
    beam = _Beam.of(options, constraints)
    unfinished = Unfinished.start(model, len(seen), beam.size)
    totals = unfinished.state.new_full((len(seen), beam.size), -torch.inf)
    totals[:, :: beam.group_size] = 0
    finished: list[list[list[Hypothesis]]] = [[[] for _ in range(beam.groups)] for _ in seen]
    images, rows_seen = torch.arange(len(seen)), seen.repeat_interleave(beam.size, 0)
    for _ in range(options.maximum_words + 1):
        flat, state = model.advance(unfinished.last_words, unfinished.state, rows_seen)
        constraints.forbid(flat, unfinished.words.flatten(0, 1), options)
        log_probs = flat.view(len(images), beam.size, flat.shape[1])
        sums = totals[:, :, None] + log_probs
        going_on, ended = beam.choose(sums, constraints.lacking(unfinished.words))
        for image, place in (ended.scores > -torch.inf).nonzero().tolist():
            parent = int(ended.parents[image, place])
            hypothesis = unfinished.finish(image, parent, log_probs, options.length_exponent)
            groups = finished[int(images[image])]
            if beam.groups == 1 or not any(map(hypothesis.among, groups)):
                groups[parent // beam.group_size].append(hypothesis)
        unfinished = unfinished.extend(going_on, log_probs, state)
        totals = beam.totals(sums, going_on, [finished[i] for i in images.tolist()])
        alive = (totals > -torch.inf).any(1)
        if not alive.any():
            break
        if not alive.all():
            images, unfinished, totals = images[alive], unfinished.select(alive), totals[alive]
            rows_seen = seen[images].repeat_interleave(beam.size, 0)
    return [_in_turn(groups, options.n_best) for groups in finished]


def _in_turn(groups: list[list[Hypothesis]], n_best: int) -> list[Hypothesis]:
    """The best of each group, then the second of each, up to `n_best`; best first."""
    in_order = [sorted(group, key=lambda h: -h.score) for group in groups]
    taken = [h for rank in zip_longest(*in_order) for h in rank if h][:n_best]
    return sorted(taken, key=lambda h: -h.score)


@dataclass(frozen=True)
class _Beam:
    """How the hypotheses of an image lie: by group, in it by bank, in it best first.

    With C words that must appear a group has a bank for each number of them that is there, 0 to C.
    A hypothesis contends only with those of its bank, and ends only in the last.
    """

    groups: int
    banks: int
    width: int
    needed: tuple[int, ...]
    penalty: float
    discount: float
    """The total of what is unfinished, divided by this, bounds the score that it ends with."""

    @classmethod
    def of(cls, options: DecodingOptions, constraints: Constraints) -> "_Beam":
        return cls(
            groups=options.diverse_groups,
            banks=len(constraints.needed) + 1,
            width=options.group_width,
            needed=constraints.needed,
            penalty=options.diversity_penalty,
            discount=(options.maximum_words + 1) ** options.length_exponent,
        )

    @property
    def group_size(self) -> int:
        return self.banks * self.width

    @property
    def size(self) -> int:
        return self.groups * self.group_size

    def choose(
        self, sums: Float[Tensor, "N S V"], lacking: Bool[Tensor, "N S C"]
    ) -> tuple[Choice, Choice]:
        """What goes on and what ends, of all groups and banks."""
        bank = self._banks(sums, lacking) if self.needed else None
        taken = sums.new_zeros(len(sums), sums.shape[2]) if self.groups > 1 else None
        going_on, ended = [], []
        for first in range(0, self.size, self.group_size):
            rows = slice(first, first + self.group_size)
            scores = sums[:, rows]
            if taken is not None:  # for this choice alone: the totals stay the model's own
                scores = scores - self.penalty * taken[:, None]
            for number in range(self.banks):
                of_bank = scores
                if bank is not None:
                    of_bank = scores.masked_fill(bank[:, rows] != number, -torch.inf)
                goes, ends = choose(of_bank, self.width, first)
                going_on.append(goes)
                ended.append(ends)
                if taken is not None:
                    taken.scatter_add_(1, goes.words, (goes.scores > -torch.inf).to(taken.dtype))
        return Choice.join(going_on), Choice.join(ended)

    def _banks(
        self, sums: Float[Tensor, "N S V"], lacking: Bool[Tensor, "N S C"]
    ) -> Int[Tensor, "N S V"]:
        """How many of the words that must appear are there after each next word."""
        there = (~lacking).sum(2, dtype=torch.int16)
        after = there[:, :, None].repeat(1, 1, sums.shape[2])
        after[:, :, list(self.needed)] += lacking
        return after

    def totals(
        self,
        sums: Float[Tensor, "N S V"],
        going_on: Choice,
        finished: list[list[list[Hypothesis]]],
    ) -> Float[Tensor, "N S"]:
        """Log-probabilities of what goes on; minus infinity in the groups that are done."""
        totals = going_on.scores
        if self.groups > 1:  # these scores hold penalties
            own = sums.flatten(1).gather(1, going_on.places(sums.shape[2]))
            totals = own.masked_fill(totals == -torch.inf, -torch.inf)
        best = totals.view(len(totals), self.groups, self.group_size).amax(2).tolist()
        done = [
            [self._is_done(group, total) for group, total in zip(groups, tops, strict=True)]
            for groups, tops in zip(finished, best, strict=True)
        ]
        if not any(map(any, done)):
            return totals
        cut = torch.tensor(done).repeat_interleave(self.group_size, 1)
        return totals.masked_fill(cut, -torch.inf)

    def _is_done(self, group: list[Hypothesis], best_total: float) -> bool:
        if len(group) < self.width or not self.needed:
            return len(group) >= self.width
        kept = sorted((h.score for h in group), reverse=True)[: self.width]
        return kept[-1] >= best_total / self.discount
