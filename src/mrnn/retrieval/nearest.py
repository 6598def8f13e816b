"""The training photos nearest to a photo.

Letters: N photos, T training photos, F image feature, D the space in which they are compared,
K neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrnn.errors import DataError
from mrnn.shapes import Float, Float32, Float64, Int

Distance = Literal["cosine", "euclidean"]
PHOTOS_AT_ONCE, ROWS_AT_ONCE = 100, 256
LEAST_DISTANCE = 1e-3
"""A training feature nearer than this fraction of its length belongs to the photo itself."""


@dataclass(frozen=True)
class Neighbours:
    """Some training photos, nearest first."""

    places: Int[np.ndarray, " K"]
    """Rows of the training photos."""
    distances: Float[np.ndarray, " K"] | None
    """1 - cosine, or Euclidean; None where the neighbours came from elsewhere."""


class FeatureSpace:
    """Where the nearest training photos are found.

    Products in float32 tell which training photos may be among the nearest; the distances of these
    alone are then computed in float64.
    """

    def __init__(
        self,
        training: Float[np.ndarray, "T F"],
        distance: Distance = "cosine",
        project: Callable[[np.ndarray], np.ndarray] = lambda features: features,
    ) -> None:
        self._size = training.shape[1]
        self._distance, self._project = distance, project
        self._training = self._place(training)
        self._scales, self._squares = self._scales_and_squares(self._training)

    def nearest(self, features: Float[np.ndarray, "N F"], count: int) -> list[Neighbours]:
        """For each photo its `count` nearest training photos, or all; never the photo itself.

        Equally near ones are ordered by row. Raises DataError for features of another size.
        """
        self.check(features.shape[1])
        found = []
        for start in range(0, len(features), PHOTOS_AT_ONCE):
            photos = self._place(features[start : start + PHOTOS_AT_ONCE])
            scales, lengths = self._scales_and_squares(photos)
            products = photos @ self._training.T
            each = zip(photos, scales, lengths, products, strict=True)
            found += [self._choose(*photo, count) for photo in each]
        return found

    def check(self, size: int) -> None:
        """Raises DataError for features of another size than the training photos'."""
        if size != self._size:
            raise DataError(
                f"A feature has {size} values, but those of the training photos have "
                f"{self._size}; take both from one encoder"
            )

    def _place(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N D"]:
        return self._project(features.astype(np.float32, copy=False))

    def _scales_and_squares(
        self, placed: Float32[np.ndarray, "N D"]
    ) -> tuple[Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """The factor that scales each to its length for comparison, and that length squared."""
        squares = np.einsum("nd,nd->n", placed, placed, dtype=np.float64)
        if self._distance == "euclidean":
            return np.ones_like(squares), squares
        return 1 / np.sqrt(np.maximum(squares, 1e-24)), np.ones_like(squares)

    def _choose(
        self,
        photo: Float32[np.ndarray, " D"],
        scale: float,
        square: float,
        products: Float32[np.ndarray, " T"],
        count: int,
    ) -> Neighbours:
        """The nearest to one photo, given its products with all training photos."""
        least = LEAST_DISTANCE**2 * square
        sums = square + self._squares
        squares = sums - 2 * scale * self._scales * products
        errors = len(photo) * np.finfo(np.float32).eps * sums
        rows = _possible(squares - errors, squares + errors, least, count)
        exact = np.concatenate(
            [
                np.einsum("td,d->t", self._training[part], photo, dtype=np.float64)
                for part in np.split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))
            ]
        )
        squares = sums[rows] - 2 * scale * self._scales[rows] * exact
        others = squares > least
        rows, squares = rows[others], squares[others]
        best = largest(-squares, count)
        found = squares[best]
        return Neighbours(rows[best], found / 2 if self._distance == "cosine" else np.sqrt(found))


def _possible(
    low: Float64[np.ndarray, " T"], high: Float64[np.ndarray, " T"], least: float, count: int
) -> Int[np.ndarray, " R"]:
    """Rows that may be among the `count` nearest, given bounds of the squares of distances.

    All that are no further than `least` do not count.
    """
    others = high[low > least]
    if count >= len(others):
        return np.arange(len(low))
    return np.flatnonzero(low <= np.partition(others, count - 1)[count - 1])


def largest(values: Float[np.ndarray, " T"], count: int) -> Int[np.ndarray, " K"]:
    """Where the `count` largest are, largest first, equal ones by index; all, if fewer."""
    if count < len(values):
        edge = np.partition(values, len(values) - count)[len(values) - count]
        above, equal = np.flatnonzero(values > edge), np.flatnonzero(values == edge)
        chosen = np.concatenate([above, equal[: count - len(above)]])
    else:
        chosen = np.arange(len(values))
    return chosen[np.argsort(-values[chosen], kind="stable")]
