"""How familiar a photo is to a model: a word of honesty to go with each caption.

Photos of the kind that a model learned from vary along few directions of the feature space;
what lies outside them is what the model knows nothing of.

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
from torch.nn import functional

Photo = TypeVar("Photo")

DIRECTIONS = 64
HELD_OUT = 10
MOST_PHOTOS = 6_000
"""That the statistics need; see `evenly_spaced`."""
UNFAMILIAR = 0.5
"""Under this a photo is unlike nearly all (99 %) that the model learned from."""


@dataclass(frozen=True)
class Familiarity:
    """Statistics of the training photos' features, small enough to go with the checkpoint."""

    mean: Float[Tensor, " F"]
    """Of the training features, each scaled to unit length."""
    directions: Float[Tensor, "K F"]
    """The principal directions of these, orthonormal."""
    middle: float
    """The median distance of the training photos."""
    edge: float
    """The distance that 99 % of them stay under."""

    @classmethod
    def of(cls, features: Float[np.ndarray, "N F"]) -> "Familiarity":
        """Of the training photos: one in ten says how far photos lie that gave no direction."""
        matrix = torch.from_numpy(np.asarray(features, dtype=np.float32))
        held_out = torch.arange(len(matrix)) % HELD_OUT == 0
        unit = functional.normalize(matrix[~held_out])
        mean = unit.mean(0)
        directions = _principal_directions(unit - mean)[: min(DIRECTIONS, len(unit) - 1)]
        mean, directions = mean.half().float(), directions.half().float()  # as they are saved
        distances = cls(mean, directions, 0.0, 1.0).distance(matrix[held_out])
        middle, edge = distances.quantile(torch.tensor([0.5, 0.99])).tolist()
        return cls(mean, directions, middle, max(edge, middle + 1e-3))

    def distance(self, features: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
        """The share, 0..1, of a feature's departure from the mean that no direction explains."""
        centred = functional.normalize(features) - self.mean
        total = centred.norm(dim=1)
        explained = (centred @ self.directions.t()).norm(dim=1)
        left = (total.square() - explained.square()).clamp(min=0).sqrt()
        distance: Tensor = left / total.clamp(min=1e-6)
        return distance

    def score(self, features: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
        """0..1: near 1 like the training photos, 0.98 at their median, 0.5 at their edge."""
        width = (self.edge - self.middle) / 4
        return torch.sigmoid((self.edge - self.distance(features)) / width)


def evenly_spaced(photos: Sequence[Photo]) -> Sequence[Photo]:
    """All of them, or so many of a great number that statistics take neither minutes nor GBs."""
    return photos[:: math.ceil(len(photos) / MOST_PHOTOS)]


def _principal_directions(centred: Float[Tensor, "N F"]) -> Float[Tensor, "_ F"]:
    """By falling variance; by random projections, whose seed is fixed, as exact ones take minutes.

    More are sought than are needed, so that those are exact but for some of the last.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sought = min(2 * DIRECTIONS, *centred.shape)
        _, _, directions = torch.pca_lowrank(centred, sought, center=False, niter=3)
    found: Tensor = directions.t()
    return found
