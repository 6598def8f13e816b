"""The training photos nearest to a photo.

Letters: N photos, T training photos, F image feature, D the space in which they are compared,
K neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrnn.errors import DataError
from mrnn.shapes import Float, Int

Distance = Literal["cosine", "euclidean"]
AT_ONCE = 100
SAME = 1e-3
"""A training feature nearer than this share of its length is of the photo itself."""


@dataclass(frozen=True)
class Neighbours:
    """Some training photos, nearest first."""

    places: Int[np.ndarray, " K"]
    """Among the training photos."""
    distances: Float[np.ndarray, " K"] | None
    """1 - cosine, or Euclidean; None where the neighbours came from elsewhere."""


class FeatureSpace:
    """Where the nearest training photos are found."""

    def __init__(
        self,
        training: Float[np.ndarray, "T F"],
        distance: Distance = "cosine",
        project: Callable[[np.ndarray], np.ndarray] = lambda features: features,
    ) -> None:
        self._size = training.shape[1]
        self._distance, self._project = distance, project
        self._training = self._place(training)
        self._lengths = (self._training**2).sum(axis=1)

    def nearest(self, features: Float[np.ndarray, "N F"], count: int) -> list[Neighbours]:
        """For each photo its `count` nearest training photos, or all; never the photo itself."""
        self.check(features.shape[1])
        found = []
        for start in range(0, len(features), AT_ONCE):
            ours = self._place(features[start : start + AT_ONCE])
            lengths = (ours**2).sum(axis=1)
            squares = lengths[:, None] + self._lengths - 2 * (ours @ self._training.T)
            least = SAME**2 * lengths
            found += [self._choose(*pair, count) for pair in zip(squares, least, strict=True)]
        return found

    def check(self, size: int) -> None:
        """Refuse features of another size than the training photos'."""
        if size != self._size:
            raise DataError(
                f"A feature has {size} values, but those of the training photos have "
                f"{self._size}; take both from one encoder"
            )

    def _place(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N D"]:
        places = self._project(features.astype(np.float32)).astype(np.float64)
        if self._distance == "cosine":
            places = places / np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
        return places

    def _choose(self, squares: Float[np.ndarray, " T"], least: float, count: int) -> Neighbours:
        """Those at the least distances, given as squares of the Euclidean."""
        others = np.flatnonzero(squares > least)
        others = others[largest(-squares[others], count)]
        found = squares[others]
        return Neighbours(others, found / 2 if self._distance == "cosine" else np.sqrt(found))


def largest(values: Float[np.ndarray, " T"], count: int) -> Int[np.ndarray, " K"]:
    """Where the `count` largest are, largest first, equal ones by index; all, if fewer."""
    if count < len(values):
        edge = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = np.flatnonzero(values > edge), np.flatnonzero(values == edge)
        chosen = np.concatenate([above, equal[: count - len(above)]])
    else:
        chosen = np.arange(len(values))
    return chosen[np.argsort(-values[chosen], kind="stable")]
