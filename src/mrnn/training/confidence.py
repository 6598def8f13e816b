"""Fitting of the confidence in captions, see `mrnn.model.confidence`.

Letters: N photos, K signals.
Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, section 2.2: targets that
no weight can overfit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.confidence import signals_of
from mrnn.data.dataset import CaptionedImage
from mrnn.evaluation.evaluate import references_of, words_of
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.confidence import RIGHT, Confidence, Signals
from mrnn.model.heads import Heads
from mrnn.model.quantization import dequantize, quantize
from mrnn.shapes import Float, Float64

FREQUENCY_PHOTOS = 1000
"""Document frequencies are of about so many photos, as in the usual dev and test splits."""
PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""L2 penalties to choose from, in nats a photo, on weights for signals of unit deviation."""
FALLING = ("expected_inventions",)
"""Signals that are low for right captions; all others are high."""
FOLDS = 5
STEPS = 2000
PHOTOS_AT_ONCE = 50


def fit_confidence(
    checkpoint: Checkpoint,
    heads: Heads,
    held_out: Sequence[CaptionedImage],
    features: Float[np.ndarray, "N F"],
    trained_on: Sequence[CaptionedImage],
    on_photo: Callable[[], None] = lambda: None,
) -> Confidence:
    """From the model's own captions of photos that nothing was trained on, rounded as stored.

    Document frequencies are of these photos and of some that the model was trained on. Raises
    DataError for a photo without captions.
    """
    captioner = Captioner(replace(checkpoint, heads=heads))
    captions = []
    for start in range(0, len(held_out), PHOTOS_AT_ONCE):
        for found in captioner.describe(features[start : start + PHOTOS_AT_ONCE]):
            captions.append(found[0])
            on_photo()
    references = references_of(held_out)
    others = [image.words for image in _some(trained_on, FREQUENCY_PHOTOS - len(held_out))]
    ciders = cider_d(
        [words_of(caption) for caption in captions],
        references,
        DocumentFrequencies.of([*references, *others]),
    )
    signals = signals_of(heads, checkpoint.vocabulary, captions, features)
    return fit_regression(signals, (ciders >= RIGHT).astype(np.float64))


def fit_regression(
    signals: Float[np.ndarray, "N K"], right: Float64[np.ndarray, " N"]
) -> Confidence:
    """The regression with the penalty that predicts best in cross-validation; of equals the larger.

    A signal that would count the wrong way, by chance in few photos, has weight 0. With fewer
    photos than folds, the penalty is the largest.
    """
    mean, deviation = signals.mean(axis=0), signals.std(axis=0)
    signs = np.array([-1.0 if name in FALLING else 1.0 for name in Signals._fields])
    scale = signs * np.where(deviation > 1e-9, deviation, 1.0)
    inputs = np.append((signals - mean) / scale, np.ones((len(signals), 1)), axis=1)
    penalty = PENALTIES[0]
    if len(signals) >= FOLDS:
        penalty = min(PENALTIES, key=lambda each: _unseen_loss(inputs, right, each))
    *weight, bias = _weights(inputs, right, penalty)
    arrays = {"weight": np.array(weight) / scale, "bias": np.array([bias]), "signal_mean": mean}
    return Confidence(**dequantize(quantize(arrays)))


def _some(photos: Sequence[CaptionedImage], most: int) -> Sequence[CaptionedImage]:
    """At most so many, evenly spaced."""
    return photos[:: math.ceil(len(photos) / most)] if photos and most > 0 else ()


def _unseen_loss(
    inputs: Float64[np.ndarray, "N _"], right: Float64[np.ndarray, " N"], penalty: float
) -> float:
    """Mean nats over photos, each predicted from the other folds."""
    fold = np.arange(len(inputs)) % FOLDS
    logits = np.empty(len(inputs))
    for one in range(FOLDS):
        seen = fold != one
        logits[~seen] = inputs[~seen] @ _weights(inputs[seen], right[seen], penalty)
    return float((np.logaddexp(0, logits) - right * logits).mean())


def _weights(
    inputs: Float64[np.ndarray, "N _"], right: Float64[np.ndarray, " N"], penalty: float
) -> Float64[np.ndarray, " _"]:
    """Of each signal, 0 or more, and the bias, which is neither penalized nor bounded.

    By projected gradients; no step is longer than the curvature of the cost allows.
    """
    count, yes = len(inputs), right.sum()
    targets = np.where(right > 0, (yes + 1) / (yes + 2), 1 / (count - yes + 2))
    penalties = np.append(np.full(inputs.shape[1] - 1, 2 * penalty), 0.0)
    curvature = np.linalg.norm(inputs.T @ inputs, 2) / (4 * count) + 2 * penalty
    weights = np.zeros(inputs.shape[1])
    weights[-1] = np.log(targets.mean() / (1 - targets.mean()))
    for _ in range(STEPS):
        found = 1 / (1 + np.exp(-(inputs @ weights)))
        gradient = inputs.T @ (found - targets) / count + penalties * weights
        weights -= gradient / curvature
        weights[:-1] = np.maximum(weights[:-1], 0)
    return weights
