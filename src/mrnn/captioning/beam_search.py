"""Beam search: greedy, plain, in groups that differ, and with words that must appear.

Letters as in `mrnn.captioning.hypotheses`; K beam, W words that must appear.
"""

from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import (
    Candidates,
    Hypothesis,
    LanguageModel,
    Unfinished,
    choose,
)
from mrnn.model.config import DecodingOptions
from mrnn.shapes import Bool, Float

Finished = list[list[list[Hypothesis]]]
"""By image and group."""


def beam_search(
    model: LanguageModel,
    images: Float[np.ndarray, "N M"],
    options: DecodingOptions,
    constraints: Constraints,
) -> list[list[Hypothesis]]:
    """The hypotheses of each image that a beam search with length normalisation finds.

    A group is done when as many of its hypotheses have finished as it keeps unfinished ones. With
    force words it goes on until nothing better can come: the shortest sentences that contain them
    end first, and are seldom the best. Fewer than `n_best` come back only where fewer sentences
    exist, where groups find the same ones, or where a vocabulary of a few words leaves nothing to
    go on with that `no_repeat_ngram` allows.

    Groups are those of Vijayakumar et al. 2016 (algorithm 1, Hamming diversity; `<eos>` costs
    nothing), and `n_best` takes the best of each before the second of any. Banks are the grid of
    Hokamp and Liu 2017.
    """
    beam = _Beam(options, constraints)
    unfinished = Unfinished.start(model, len(images), options.beam_groups)
    finished: Finished = [[[] for _ in range(options.beam_groups)] for _ in images]
    for _ in range(options.max_length + 1):
        if not len(unfinished):
            break
        log_probs, state = model.step(
            unfinished.last_words, unfinished.state, images[unfinished.images]
        )
        constraints.forbid(log_probs, unfinished.words, options)
        going, ended = beam.choose(unfinished, log_probs)
        for row, word in zip(ended.rows.tolist(), ended.words.tolist(), strict=True):
            end = float(log_probs[row, word])
            hypothesis = unfinished.finish(row, end, options.length_penalty)
            groups = finished[unfinished.images[row]]
            if len(groups) == 1 or not any(_among(hypothesis, group) for group in groups):
                groups[unfinished.groups[row]].append(hypothesis)
        unfinished = beam.keep(unfinished.extend(going, log_probs, state), finished)
    return [_in_turn(groups, options.n_best) for groups in finished]


def _among(hypothesis: Hypothesis, others: list[Hypothesis]) -> bool:
    return any(hypothesis.words == other.words for other in others)


def _in_turn(groups: list[list[Hypothesis]], n_best: int) -> list[Hypothesis]:
    """The best of each group, then the second of each, up to `n_best`; best first."""
    in_order = [sorted(group, key=lambda h: -h.score) for group in groups]
    taken = [h for rank in zip_longest(*in_order) for h in rank if h][:n_best]
    return sorted(taken, key=lambda h: -h.score)


@dataclass(frozen=True)
class _Beam:
    """Which hypotheses go on.

    With W force words a group has a bank for each number of them that is there, 0 to W. A
    hypothesis competes only with those of its bank, and ends only in the last.
    """

    options: DecodingOptions
    constraints: Constraints

    def choose(
        self, unfinished: Unfinished, log_probs: Float[np.ndarray, "X V"]
    ) -> tuple[Candidates, Candidates]:
        """What goes on, with log-probabilities as scores, and what ends, of all groups."""
        if self.options.beam_groups == 1:
            return self._choose_in_banks(unfinished, log_probs)
        going_on, all_ended = [], []
        taken = np.zeros((int(unfinished.images[-1]) + 1, log_probs.shape[1]), log_probs.dtype)
        for group in range(self.options.beam_groups):
            rows = np.flatnonzero(unfinished.groups == group)
            own = unfinished.select(rows)
            # For this choice alone: the totals stay the model's own.
            penalized = log_probs[rows] - self.options.diversity_penalty * taken[own.images]
            going, ended = self._choose_in_banks(own, penalized)
            np.add.at(taken, (own.images[going.rows], going.words), 1)
            going_on.append(replace(going, rows=rows[going.rows]))
            all_ended.append(replace(ended, rows=rows[ended.rows]))
        going = Candidates.concatenate(going_on)
        rows = going.rows
        going = replace(going, scores=log_probs[rows, going.words] + unfinished.totals[rows])
        order = np.lexsort((unfinished.groups[rows], unfinished.images[rows]))
        return going.select(order), Candidates.concatenate(all_ended)

    def _choose_in_banks(
        self, unfinished: Unfinished, log_probs: Float[np.ndarray, "X V"]
    ) -> tuple[Candidates, Candidates]:
        totals, images, width = unfinished.totals, unfinished.images, self.options.group_size
        needed = self.constraints.needed
        if not needed:
            return choose(log_probs, totals, images, width)
        lacking = self.constraints.lacking(unfinished.words)
        banks = [
            choose(self._of_bank(log_probs, lacking, number), totals, images, width)
            for number in range(len(needed) + 1)
        ]
        going = Candidates.concatenate([going for going, _ in banks])
        order = np.argsort(images[going.rows], kind="stable")
        return going.select(order), Candidates.concatenate([ended for _, ended in banks])

    def _of_bank(
        self,
        log_probs: Float[np.ndarray, "X V"],
        lacking: Bool[np.ndarray, "X W"],
        number: int,
    ) -> Float[np.ndarray, "X V"]:
        """Of next words after which so many force words are there."""
        needed = list(self.constraints.needed)
        after = np.repeat((~lacking).sum(axis=1)[:, None], log_probs.shape[1], axis=1)
        after[:, needed] += lacking
        return np.where(after == number, log_probs, -np.inf)

    def keep(self, unfinished: Unfinished, finished: Finished) -> Unfinished:
        """Those of groups that are not done."""
        if not len(unfinished):
            return unfinished
        starts = np.flatnonzero(
            (np.diff(unfinished.images, prepend=-1) != 0)
            | (np.diff(unfinished.groups, prepend=-1) != 0)
        )
        best = np.maximum.reduceat(unfinished.totals, starts)
        places = zip(unfinished.images[starts], unfinished.groups[starts], best, strict=True)
        alive = [not self._is_done(finished[i][g], float(total)) for i, g, total in places]
        sizes = np.diff(starts, append=len(unfinished))
        return unfinished if all(alive) else unfinished.select(np.repeat(alive, sizes))

    def _is_done(self, group: list[Hypothesis], best_total: float) -> bool:
        width = self.options.group_size
        if len(group) < width or not self.constraints.needed:
            return len(group) >= width
        kept = sorted((h.score for h in group), reverse=True)[:width]
        # The total of what is unfinished, divided by this, bounds the score that it ends with.
        longest = self.options.max_length + 1
        return kept[-1] >= best_total / float(longest**self.options.length_penalty)
