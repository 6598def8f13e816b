"""What a store of rows can do, whatever engine keeps it: rows are found, read, written and removed.

Letters: N rows asked for, W rows of a store, removed ones perhaps included.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from mrnn.data.feature_store.shard import Rows
from mrnn.shapes import Bool, Int


@runtime_checkable
class RowStore(Protocol):
    """Rows as they were when the store was opened; methods raise DataError for a damaged one."""

    @property
    def kept(self) -> Bool[np.ndarray, " W"]:
        """Which rows count, by their numbers."""
        ...

    def find(self, names: Sequence[str]) -> Int[np.ndarray, " N"]:
        """The row of each name, -1 for one that is not there."""
        ...

    def names(self) -> Iterator[tuple[int, str]]:
        """The rows that count, and what they are of."""
        ...

    def take(self, column: str, rows: Int[np.ndarray, " N"]) -> np.ndarray:
        """These rows of a column, in this order; all values are finite."""
        ...

    def stamps(self, rows: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 3"]:
        """Size, time and hash of the photos that these rows are of."""
        ...


@runtime_checkable
class RowTarget(Protocol):
    """Where written rows go; methods raise DataError if nothing can be written."""

    def write(self, rows: Rows) -> None:
        """Put rows on the disk; they do not count yet."""
        ...

    def commit(self, removed: Sequence[int]) -> None:
        """From now on written rows count, and these rows of the store do not."""
        ...

    def sweep(self) -> None:
        """Remove what does not count."""
        ...

    def tidy(self) -> None:
        """Put in order what many small changes have left."""
        ...
