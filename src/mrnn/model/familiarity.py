"""How familiar a photo is to a model: a word of honesty to go with each caption.

Photos of the kind that a model learned from lie around their mean, and most of all along a few
directions; a page of text lies far off.

Letters: N images, F image feature, K directions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mrnn.model.power_normalization import unit_roots

Photo = TypeVar("Photo")

DIRECTIONS = 7
BYTES = 10_240
"""That the statistics take at most: of long features they hold fewer directions."""
STORED = torch.float8_e5m2
"""A byte a value is enough: its rounding is lost in the sum over a feature."""
HELD_OUT = 10
MOST_PHOTOS = 6_000
"""That the statistics need; see `evenly_spaced`."""
UNFAMILIAR = 0.5
"""Under this a photo is unlike nearly all (99 %) that the model learned from."""


@dataclass(frozen=True)
class Familiarity:
    """Statistics of the training photos' features, small enough to go with the checkpoint."""

    mean: Float[Tensor, " F"]
    """Of the training features, each as `unit_roots` makes it."""
    directions: Float[Tensor, "K F"]
    """Those that these vary along most, orthonormal but for rounding."""
    middle: float
    """The median distance of the training photos."""
    edge: float
    """The distance that 99 % of them stay under."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "N F"]) -> "Familiarity":
        """Of the training photos: one in ten says how far photos lie that gave no direction."""
        matrix = torch.from_numpy(np.asarray(features, dtype=np.float32))
        held_out = torch.arange(len(matrix)) % HELD_OUT == 0
        normal = unit_roots(matrix[~held_out])
        mean = normal.mean(0)
        directions = _principal_directions(normal - mean)
        mean, directions = (tensor.to(STORED).float() for tensor in (mean, directions))
        distances = cls(mean, directions, 0.0, 1.0).distance(matrix[held_out])
        middle, edge = distances.quantile(torch.tensor([0.5, 0.99])).tolist()
        return cls(mean, directions, middle, max(edge, middle + 1e-3))

    def distance(self, features: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
        """From the mean, across the directions: a step along them is free."""
        departure = unit_roots(features) - self.mean
        along = departure @ self.directions.t()
        across = departure.square().sum(1) - along.square().sum(1)
        distance: Tensor = across.clamp(min=0).sqrt()
        return distance

    def score(self, features: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
        """0..1: near 1 like the training photos, 0.98 at their median, 0.5 at their edge."""
        width = (self.edge - self.middle) / 4
        return torch.sigmoid((self.edge - self.distance(features)) / width)


def evenly_spaced(photos: Sequence[Photo]) -> Sequence[Photo]:
    """All of them, or so many of a great number that statistics take neither minutes nor GBs."""
    return photos[:: math.ceil(len(photos) / MOST_PHOTOS)]


def _principal_directions(centred: Float[Tensor, "N F"]) -> Float[Tensor, "K F"]:
    """By falling variance; by random projections, whose seed is fixed, as exact ones take minutes.

    More are sought than are needed, so that those are exact.
    """
    photos, size = centred.shape
    count = min(DIRECTIONS, max(1, BYTES // size - 1), size // 2, photos - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sought = min(8 * DIRECTIONS, *centred.shape)
        _, _, directions = torch.pca_lowrank(centred, sought, center=False, niter=3)
    found: Tensor = directions.t()[:count]
    return found
