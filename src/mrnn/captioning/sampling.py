"""Sentences sampled without replacement.

Letters as in `mrnn.captioning.hypotheses`; K sentences sampled for an image.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import Hypothesis, LanguageModel, Unfinished, choose
from mrnn.model.config import DecodingOptions
from mrnn.shapes import Float, Int

Found = list[list[tuple[float, Hypothesis]]]
"""For each image, finished sentences and their ranks."""


def sample(
    model: LanguageModel,
    images: Float[np.ndarray, "N M"],
    options: DecodingOptions,
    constraints: Constraints,
    keys: Sequence[int],
) -> list[list[Hypothesis]]:
    """`n_best` sentences of each image, sampled without replacement, by falling score.

    Words come from the model's distribution over those that are allowed, tempered and truncated.
    One sentence is an ordinary sample; more are as if sampled one after another, each from what the
    ones before it have left. Fewer come back only where fewer exist. `keys` seed the random
    generator of each image.

    By stochastic beam search, Kool et al. 2019, algorithm 1: a beam search by log P + Gumbel noise.
    """
    width = options.n_best
    generators = [_generator(options.seed, key) for key in keys]
    unfinished = Unfinished.start(model, len(images))
    ranks = unfinished.totals
    finished: Found = [[] for _ in images]
    for _ in range(options.max_length + 1):
        if not len(unfinished):
            break
        log_probs, state = model.step(
            unfinished.last_words, unfinished.state, images[unfinished.images]
        )
        allowed = log_probs.copy()
        constraints.forbid(allowed, unfinished.words, options)
        sums = unfinished.totals[:, None] + temper(allowed, options)
        noisy = sums + _gumbel(sums, unfinished.images, generators)
        going, ended = choose(_topped(noisy, ranks), np.zeros(len(ranks)), unfinished.images, width)
        for row, word, rank in zip(ended.rows, ended.words, ended.scores, strict=True):
            end = float(log_probs[row, word])
            hypothesis = unfinished.finish(int(row), end, options.length_penalty)
            finished[unfinished.images[row]].append((float(rank), hypothesis))
        totals = replace(going, scores=sums[going.rows, going.words])
        unfinished, ranks = unfinished.extend(totals, log_probs, state), going.scores
        bars = np.array([_bar(found, width) for found in finished])
        kept = ranks > bars[unfinished.images]
        unfinished, ranks = unfinished.select(kept), ranks[kept]
    return [_sampled(found, width) for found in finished]


def temper(
    log_probs: Float[np.ndarray, "X V"], options: DecodingOptions
) -> Float[np.ndarray, "X V"]:
    """The distribution of next words: log-probabilities, minus infinity for those cut off.

    Ties go to the lower word id. A row where nothing is allowed stays minus infinity.
    """
    top = log_probs.max(axis=1, keepdims=True)
    nothing = top == -np.inf
    scaled = (log_probs - np.where(nothing, 0, top)) / options.temperature
    if options.top_k or options.top_p < 1:
        words = np.argsort(-scaled, axis=1, kind="stable")
        values = np.take_along_axis(scaled, words, axis=1)
        if options.top_k:
            values[:, options.top_k :] = -np.inf
        if options.top_p < 1:
            probabilities = np.exp(_log_softmax(values))
            before = probabilities.cumsum(axis=1) - probabilities
            values[before >= options.top_p] = -np.inf
        np.put_along_axis(scaled, words, values, axis=1)
    return np.where(nothing, -np.inf, _log_softmax(scaled))


def _log_softmax(values: Float[np.ndarray, "X V"]) -> Float[np.ndarray, "X V"]:
    """Rows without any finite value give minus infinity."""
    top = values.max(axis=1, keepdims=True)
    shifted = values - np.where(top == -np.inf, 0, top)
    total = np.exp(shifted).sum(axis=1, keepdims=True)
    return shifted - np.log(np.where(total == 0, 1, total))


def _topped(
    noisy: Float[np.ndarray, "X V"], ranks: Float[np.ndarray, " X"]
) -> Float[np.ndarray, "X V"]:
    """Noisy log-probabilities on condition that the highest of each sentence equals its rank.

    Kool et al. 2019, equation 20 (appendix B.3), which keeps small differences.
    """
    top = noisy.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        below = np.log(-np.expm1(noisy - top))
        v = ranks[:, None] - noisy + below
        topped = ranks[:, None] - np.maximum(v, 0) - np.log1p(np.exp(-np.abs(v)))
    return np.where(noisy == -np.inf, -np.inf, topped)


def _gumbel(
    like: Float[np.ndarray, "X V"],
    images: Int[np.ndarray, " X"],
    generators: Sequence[np.random.Generator],
) -> Float[np.ndarray, "X V"]:
    """Gumbel noise, from a generator for each image."""
    waits = np.empty(like.shape)
    starts = np.flatnonzero(np.diff(images, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(images)], strict=True):
        generators[images[start]].standard_exponential(out=waits[start:end])
    noise: np.ndarray = -np.log(np.maximum(waits, np.finfo(waits.dtype).tiny))
    return noise


def _generator(seed: int, key: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest, "big")))


def _bar(finished: list[tuple[float, Hypothesis]], width: int) -> float:
    """The rank that an unfinished sentence must exceed to be among those sampled."""
    ranks = sorted((rank for rank, _ in finished), reverse=True)
    return ranks[width - 1] if len(ranks) >= width else -np.inf


def _sampled(found: list[tuple[float, Hypothesis]], width: int) -> list[Hypothesis]:
    by_rank = sorted(found, key=lambda each: -each[0])
    return sorted((h for _, h in by_rank[:width]), key=lambda h: -h.score)
