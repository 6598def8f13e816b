"""The seam between a search and what keeps the rows of an index: rows that may be found.

Letters: N rows of a block, W rows of the index, C candidates, D joint embedding.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np

from mrnn.data.feature_store.store import FeatureStore, damaged
from mrnn.errors import OptionsError
from mrnn.retrieval.index.config import MEND, IndexConfig
from mrnn.retrieval.index.path_pattern import PathPattern
from mrnn.retrieval.nearest import largest
from mrnn.shapes import Float32, Int

Nearest = Callable[[int], Int[np.ndarray, " C"]]
"""So many rows of the greatest similarity, greatest first; all, if there are fewer."""
Block = tuple[Int[np.ndarray, " N"], Mapping[str, np.ndarray]]
"""Some rows, and columns of them."""


@runtime_checkable
class Selection(Protocol):
    """Rows that a search may find. Methods raise DataError for a damaged index."""

    def nearest(self, vector: Float32[np.ndarray, " D"], *, hubness: bool) -> Nearest:
        """Those nearest to a vector, by similarity less the hubness correction if `hubness`."""
        ...

    def blocks(self, *columns: str) -> Iterator[Block]:
        """All of them, some at a time."""
        ...


@dataclass(frozen=True)
class ShardSelection:
    """Rows of a feature store; their similarity is a product with all vectors."""

    store: FeatureStore[IndexConfig]
    rows: Int[np.ndarray, " C"]

    @classmethod
    def of(
        cls, store: FeatureStore[IndexConfig], pattern: PathPattern | None = None
    ) -> "ShardSelection":
        """The rows whose names match, or all. Raises OptionsError if no name matches."""
        if pattern is None:
            return cls(store, np.flatnonzero(store.kept))
        rows = [row for row, name in store.names() if pattern.matches(name)]
        if not rows:
            raise no_match(pattern)
        return cls(store, np.array(rows))

    def nearest(self, vector: Float32[np.ndarray, " D"], *, hubness: bool) -> Nearest:
        """Those nearest to a vector; equally near ones by row."""

        @cache
        def similarity() -> Float32[np.ndarray, " C"]:
            return np.asarray(self._similarity(vector, hubness=hubness)[self.rows])

        return lambda count: self.rows[largest(similarity(), count)]

    def blocks(self, *columns: str) -> Iterator[Block]:
        """A shard at a time."""
        starts = self.store.starts
        for shard, start, end in zip(self.store.shards, starts, starts[1:], strict=False):
            low, high = np.searchsorted(self.rows, (start, end))
            rows = self.rows[low:high]
            values = {column: shard.arrays[column][rows - start] for column in columns}
            for column, found in values.items():
                if not np.isfinite(found).all():
                    raise damaged(shard.file, f"the {column} are not finite", MEND)
            yield rows, values

    def _similarity(
        self, vector: Float32[np.ndarray, " D"], *, hubness: bool
    ) -> Float32[np.ndarray, " W"]:
        """Of all rows of the store. Raises DataError if one is not finite."""
        found = [np.zeros(0, np.float32)]
        for shard in self.store.shards:
            similarity = shard.arrays["vectors"] @ vector
            if hubness:
                similarity = similarity - shard.arrays["hubness"][:, 0]
            if not np.isfinite(similarity).all():
                raise damaged(shard.file, "a vector is not finite", MEND)
            found.append(similarity)
        return np.concatenate(found)


def no_match(pattern: PathPattern) -> OptionsError:
    """The error for a pattern that no name matches."""
    return OptionsError(f"No photo of the index has a path like {pattern.given!r:.100}")
