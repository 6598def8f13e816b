"""Fitting of the thing predictor, see `mrnn.model.thing_predictor`.

Letters: N images, F image feature, T things.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mrnn.metrics.inventions import NOTHING as NOTHING_NAMED
from mrnn.metrics.inventions import Things, read_things
from mrnn.model.quantization import dequantize, quantize
from mrnn.model.thing_predictor import NOTHING, PADDING, ThingPredictor
from mrnn.shapes import Float32
from mrnn.tokenizer import Vocabulary
from mrnn.training.power_normalization import Standardized
from mrnn.training.recipe import ThingPredictorOptions

Sentences = Sequence[Sequence[str]]
"""The captions of one photo, as words."""


def fit_thing_predictor(
    features: Standardized,
    captions: Sequence[Sentences],
    vocabulary: Vocabulary,
    options: ThingPredictorOptions,
) -> ThingPredictor | None:
    """From the captions of a train split, rounded as stored; things of `things.txt`.

    A photo has a thing if one of its captions names it. None where no thing is named often enough.
    It is fitted on the device of the features.
    """
    things = read_things()
    named = [frozenset().union(*map(things.named, own)) for own in captions]
    counts = Counter(thing for found in named for thing in found)
    kept = sorted(thing for thing, count in counts.items() if count >= options.min_count)
    if not kept:
        return None
    labels = np.array([[thing in found for thing in kept] for found in named], dtype=np.float32)
    weight, bias, mean = _regress(features, labels, options)
    phrases = _phrases(things, {thing: row for row, thing in enumerate(kept)}, vocabulary)
    longest = max(len(ids) for ids, _ in phrases)
    padded = [[*ids, *[PADDING] * (longest - len(ids))] for ids, _ in phrases]
    arrays = {
        "weight": weight,
        "bias": bias,
        "feature_mean": mean,
        "phrase_ids": np.array(padded, dtype=np.int32),
        "phrase_thing": np.array([thing for _, thing in phrases], dtype=np.int32),
    }
    return ThingPredictor(**dequantize(quantize(arrays)))


def _phrases(
    things: Things, rows: dict[str, int], vocabulary: Vocabulary
) -> list[tuple[list[int], int]]:
    """Token ids of each phrase of known words, and the row of its thing.

    Phrases that name nothing, and those of things that are not predicted, name `NOTHING`.
    """
    found = []
    for phrases in things.phrases.values():
        for words, thing in phrases:
            if all(word in vocabulary for word in words):
                row = NOTHING if thing == NOTHING_NAMED else rows.get(thing, NOTHING)
                found.append((vocabulary.encode(words), row))
    return sorted(found)


def _regress(
    features: Standardized,
    labels: Float32[np.ndarray, "N T"],
    options: ThingPredictorOptions,
) -> tuple[Float32[np.ndarray, "T F"], Float32[np.ndarray, " T"], Float32[np.ndarray, " F"]]:
    """Weights, biases and mean feature: maximum likelihood with an L2 penalty, by L-BFGS.

    Each value of the feature is scaled to unit deviation for the penalty.
    """
    x, mean, scale = features
    y = torch.from_numpy(labels).to(x.device)
    weight = torch.zeros(x.shape[1], y.shape[1], device=x.device, requires_grad=True)
    bias = torch.logit(y.mean(0).clamp(1e-4, 1 - 1e-4)).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=options.steps, history_size=8, line_search_fn="strong_wolfe"
    )

    def cost() -> Tensor:
        optimizer.zero_grad()
        nats = functional.binary_cross_entropy_with_logits(x @ weight + bias, y, reduction="sum")
        total = nats / len(x) + options.penalty * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(cost)  # type: ignore[no-untyped-call]
    scaled = (weight.detach() * scale[:, None]).t().contiguous()
    return scaled.cpu().numpy(), bias.detach().cpu().numpy(), mean.cpu().numpy()
