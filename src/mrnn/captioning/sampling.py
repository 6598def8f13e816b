"""Sentences drawn by chance, no two alike.

Letters as in `mrnn.captioning.decode`; K sentences drawn for an image.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.hypotheses import Hypothesis, LanguageModel, Unfinished, choose
from mrnn.model.config import DecodingOptions


def sample(
    model: LanguageModel,
    seen: Float[Tensor, "N M"],
    options: DecodingOptions,
    constraints: Constraints,
    keys: Sequence[int],
) -> list[list[Hypothesis]]:
    """`n_best` sentences of each image, drawn without replacement, by falling score.

    Words come from what the model says of those that are allowed, tempered and cut. One sentence
    is an ordinary draw; more are as if drawn one after another, each from what the ones before it
    have left. Fewer come back only where fewer can be drawn. `keys` tell images apart for chance.

    By stochastic beam search, Kool et al. 2019, algorithm 1: a beam search by log P + Gumbel noise.
    """
    width = options.n_best
    generators = [_generator(options.seed, key) for key in keys]
    unfinished = Unfinished.start(model, len(seen), width)
    ranks = unfinished.state.new_full((len(seen), width), -torch.inf)
    ranks[:, 0] = 0
    totals = ranks
    finished: list[list[tuple[float, Hypothesis]]] = [[] for _ in seen]
    images = torch.arange(len(seen))
    for _ in range(options.maximum_words + 1):
        rows_seen = seen[images].repeat_interleave(width, 0)
        flat, state = model.advance(unfinished.last_words, unfinished.state, rows_seen)
        log_probs = flat.view(len(images), width, flat.shape[1])
        allowed = flat.clone()
        constraints.forbid(allowed, unfinished.words.flatten(0, 1), options)
        sums = totals[:, :, None] + temper(allowed, options).view_as(log_probs)
        noise = _gumbel(sums, [generators[i] for i in images.tolist()])
        going_on, ended = choose(_topped(sums + noise, ranks), width)
        for image, place in (ended.scores > -torch.inf).nonzero().tolist():
            parent, rank = int(ended.parents[image, place]), float(ended.scores[image, place])
            hypothesis = unfinished.finish(image, parent, log_probs, options.length_exponent)
            finished[int(images[image])].append((rank, hypothesis))
        unfinished = unfinished.extend(going_on, log_probs, state)
        totals = sums.flatten(1).gather(1, going_on.places(sums.shape[2]))
        ranks = going_on.scores
        bars = ranks.new_tensor([[_bar(finished[i], width)] for i in images.tolist()])
        ranks = ranks.masked_fill(ranks <= bars, -torch.inf)
        alive = (ranks > -torch.inf).any(1)
        if not alive.any():
            break
        images, unfinished = images[alive], unfinished.select(alive)
        totals, ranks = totals[alive], ranks[alive]
    return [_drawn(found, width) for found in finished]


def temper(log_probs: Float[Tensor, "X V"], options: DecodingOptions) -> Float[Tensor, "X V"]:
    """What words are drawn from: log-probabilities, minus infinity for those cut off.

    Ties go to the lower word id. A row where nothing is allowed stays minus infinity.
    """
    top = log_probs.amax(1, keepdim=True)
    scaled = (log_probs - top) / options.temperature
    if options.top_k or options.top_p < 1:
        values, words = scaled.sort(dim=1, descending=True, stable=True)
        if options.top_k:
            values[:, options.top_k :] = -torch.inf
        if options.top_p < 1:
            shares = values.softmax(1)
            before = shares.cumsum(1) - shares
            values = values.masked_fill(before >= options.top_p, -torch.inf)
        scaled = scaled.scatter(1, words, values)
    return scaled.log_softmax(1).masked_fill(top == -torch.inf, -torch.inf)


def _topped(noisy: Float[Tensor, "N K V"], ranks: Float[Tensor, "N K"]) -> Float[Tensor, "N K V"]:
    """Noisy log-probabilities on condition that the highest of each sentence equals its rank.

    Kool et al. 2019, equation 20 (appendix B.3), which keeps small differences.
    """
    top = noisy.amax(2, keepdim=True)
    below = torch.log(-torch.expm1(noisy - top))
    v = ranks[:, :, None] - noisy + below
    topped = ranks[:, :, None] - v.clamp_min(0) - torch.log1p(torch.exp(-v.abs()))
    unable = (noisy == -torch.inf) | (ranks == -torch.inf)[:, :, None]
    return topped.masked_fill(unable, -torch.inf)


def _gumbel(
    like: Float[Tensor, "N K V"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "N K V"]:
    """Gumbel noise, from a generator for each image."""
    waits = torch.empty_like(like)
    for wait, generator in zip(waits, generators, strict=True):
        wait.exponential_(generator=generator)
    return -waits.clamp_min_(torch.finfo(waits.dtype).tiny).log_()


def _generator(seed: int, key: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _bar(finished: list[tuple[float, Hypothesis]], width: int) -> float:
    """The rank that an unfinished sentence must have to be among those drawn."""
    ranks = sorted((rank for rank, _ in finished), reverse=True)
    return ranks[width - 1] if len(ranks) >= width else -torch.inf


def _drawn(finished: list[tuple[float, Hypothesis]], width: int) -> list[Hypothesis]:
    by_rank = sorted(finished, key=lambda drawn: -drawn[0])
    return sorted((h for _, h in by_rank[:width]), key=lambda h: -h.score)
