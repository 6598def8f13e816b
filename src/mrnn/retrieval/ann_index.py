"""Candidates without a product with every vector: a graph whose edges lead to near neighbours.

An extra for indexes of more than a million photos. The graph holds a byte a number and is searched
from the disk; it may miss some of the nearest, so more are taken from it than are asked for.

Letters: W vectors, D joint space.
Source: Malkov and Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using
Hierarchical Navigable Small World Graphs", IEEE TPAMI 42, 2020; the package usearch.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrnn.errors import OptionsError
from mrnn.shapes import Float, Int

if TYPE_CHECKING:
    from usearch.index import Index

EFFORT = 4096
"""How many vectors a search keeps in view: more find more of the nearest, and take longer."""
MORE = 4
"""So many times what is asked for is taken, as a byte a number puts neighbours in a rough order."""
MOST = EFFORT // MORE
"""Of what can be asked for."""
ROWS_AT_ONCE = 65_536


def require_usearch() -> None:
    """Raises OptionsError where the extra is not installed."""
    if not find_spec("usearch"):
        raise OptionsError(
            "Approximate search needs: pip install 'mrnn[approximate]'; "
            "or run mrnn index without --approximate"
        )


class NeighbourGraph:
    """A graph over the rows of a matrix of unit vectors."""

    def __init__(self, index: "Index") -> None:
        self._index = index

    @classmethod
    def over(cls, vectors: Float[np.ndarray, "W D"]) -> "NeighbourGraph":
        """A new graph, made on all cores. Two runs need not make the same."""
        index = _empty(vectors.shape[1])
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            block = np.asarray(vectors[start : start + ROWS_AT_ONCE])
            index.add(np.arange(start, start + len(block), dtype=np.uint64), block)
        return cls(index)

    @classmethod
    def open(cls, file: Path, size: int) -> "NeighbourGraph":
        """Of vectors of `size` numbers, memory-mapped. Raises ValueError if it is not one."""
        index = _empty(size)
        try:
            index.view(file)
        except RuntimeError as error:
            raise ValueError(f"{file.name}: {error}") from error
        if index.ndim != size:
            raise ValueError(f"{file.name}: vectors of {index.ndim} numbers, not of {size}")
        return cls(index)

    def __len__(self) -> int:
        return len(self._index)

    def to_bytes(self) -> bytes:
        """What `open` reads from a file."""
        saved = self._index.save()
        assert saved is not None
        return bytes(saved)

    def nearest(self, vector: Float[np.ndarray, " D"], count: int) -> Int[np.ndarray, " _"]:
        """Rows that hold nearly all of the `count` nearest, and others, in rising order.

        `count` is `MOST` at most.
        """
        if MORE * count >= len(self):
            return np.arange(len(self))  # a row can be out of reach of all others
        found = self._index.search(vector, MORE * count).keys
        return np.sort(np.asarray(found).astype(np.int64))


def _empty(size: int) -> "Index":
    require_usearch()
    from usearch.index import Index

    return Index(ndim=size, metric="ip", dtype="i8", expansion_search=EFFORT)
