"""Bootstrap intervals: what a figure might be on other images of the same kind.

Letters: N images, R resamples, K figures.
Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from collections.abc import Callable

import numpy as np

from mrnn.shapes import Float

CONFIDENCE = 0.95
AT_ONCE = 5_000_000  # numbers in a block of resamples

Figures = Callable[[Float[np.ndarray, "R N"]], Float[np.ndarray, "R K"]]
"""Figures of a set of images, given how often each image is in it."""


def bootstrap(
    figures: Figures, images: int, *, resamples: int, seed: int
) -> Float[np.ndarray, "R K"]:
    """The figures of images sampled with replacement, as many as there are, again and again."""
    generator = np.random.default_rng(seed)
    weights = np.full(images, 1 / images)
    size = max(1, AT_ONCE // images)
    blocks = [min(size, resamples - start) for start in range(0, resamples, size)]
    samples = (generator.multinomial(images, weights, block) for block in blocks)
    return np.concatenate([figures(sample.astype(np.float64)) for sample in samples])


def percentile_intervals(values: Float[np.ndarray, "R K"]) -> Float[np.ndarray, "K 2"]:
    """The middle 95 % of the values of each figure."""
    tail = 100 * (1 - CONFIDENCE) / 2
    return np.asarray(np.percentile(values, [tail, 100 - tail], axis=0).T)
