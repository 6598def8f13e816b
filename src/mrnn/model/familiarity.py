"""How familiar a photo is to a model: whether its feature is like those of the training photos.

Features of training photos lie around their mean and vary along a few directions. The feature of a
page of text lies far from both.

Letters: N images, F image feature, K directions.
Source of the search for directions: Halko, Martinsson and Tropp, "Finding Structure with
Randomness", SIAM Review 2011, algorithms 4.4 and 5.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mrnn.model.power_normalization import power_normalize
from mrnn.shapes import Float, Float32

Photo = TypeVar("Photo")

DIRECTIONS = 7
VALUES = 10_240
"""The size of the statistics: of long features they hold fewer directions."""
STORED = np.float16
HELD_OUT = 10
MOST_PHOTOS = 6_000
"""Most photos that the statistics are taken over; see `evenly_spaced`."""
OVERSAMPLING, ITERATIONS = 49, 3
"""Directions sought beyond those needed, and power iterations, which make those needed exact."""
UNFAMILIAR = 0.5
"""Below this a photo is unlike 99 % of the photos that the model was trained on."""


@dataclass(frozen=True)
class Familiarity:
    """Statistics of the training photos' features, small enough to go with the checkpoint."""

    mean: Float32[np.ndarray, " F"]
    """Mean of the power-normalized features."""
    directions: Float32[np.ndarray, "K F"]
    """Their principal directions, orthonormal but for rounding."""
    median: float
    """The median distance of the training photos."""
    edge: float
    """The 99th percentile of their distances."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "N F"]) -> "Familiarity":
        """The statistics of training photos: every tenth is held out to measure distances.

        The same features give the same statistics. Mean and directions are rounded as stored.
        """
        matrix = np.asarray(features, dtype=np.float32)
        held_out = np.arange(len(matrix)) % HELD_OUT == 0
        normalized = power_normalize(matrix[~held_out])
        mean = normalized.mean(axis=0)
        directions = _principal_directions(normalized - mean)
        mean, directions = (x.astype(STORED).astype(np.float32) for x in (mean, directions))
        distances = cls(mean, directions, 0.0, 1.0).distance(matrix[held_out])
        median, edge = np.quantile(distances, [0.5, 0.99]).tolist()
        return cls(mean, directions, median, max(edge, median + 1e-3))

    def distance(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, " N"]:
        """Distances from the mean, across the directions."""
        departure = power_normalize(features.astype(np.float32)) - self.mean
        along = departure @ self.directions.T
        across = np.square(departure).sum(axis=1) - np.square(along).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(across, 0)))

    def score(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
        """Familiarity, 0..1: 0.98 at the training photos' median distance, 0.5 at their edge."""
        width = (self.edge - self.median) / 4
        logit = (self.edge - self.distance(features).astype(np.float64)) / width
        return np.asarray(np.exp(-np.logaddexp(0, -logit)))


def evenly_spaced(photos: Sequence[Photo], most: int = MOST_PHOTOS) -> Sequence[Photo]:
    """All of them, or so many at most, which bounds the time and memory of the statistics."""
    return photos[:: math.ceil(len(photos) / most)]


def _principal_directions(centred: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "K F"]:
    """Principal directions by falling variance, from random projections with a fixed seed."""
    photos, size = centred.shape
    count = min(DIRECTIONS, max(1, VALUES // size - 1), size // 2, photos - 1)
    sought = min(DIRECTIONS + OVERSAMPLING, photos, size)
    random = np.random.default_rng(0)
    basis = centred @ random.standard_normal((size, sought), dtype=np.float32)
    for _ in range(ITERATIONS):
        basis, _ = np.linalg.qr(basis)
        basis, _ = np.linalg.qr(centred.T @ basis)
        basis = centred @ basis
    basis, _ = np.linalg.qr(basis)
    *_, directions = np.linalg.svd(basis.T @ centred, full_matrices=False)
    return np.asarray(directions[:count])
