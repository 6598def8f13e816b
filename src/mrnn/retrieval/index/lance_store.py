"""The rows of an index in a table of LanceDB, and those that a search may find.

A row's number is its address in the version of the table that config.json names: a version never
changes, so a reader finds what it opened, whatever a writer does.

Letters: N rows asked for, C candidates, D joint embedding.
"""

import math
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrnn.data.feature_store.keys import keys_of
from mrnn.data.photos.names import name_from_text
from mrnn.errors import DataError
from mrnn.locks import share
from mrnn.retrieval.index.config import MEND, IndexConfig, read_index_config
from mrnn.retrieval.index.lance_condition import condition_of
from mrnn.retrieval.index.lance_table import (
    TABLE,
    connect,
    matrix_of,
    needs_lancedb,
    reading,
    table_folder,
)
from mrnn.retrieval.index.path_pattern import PathPattern
from mrnn.retrieval.index.selection import Block, Nearest, no_match
from mrnn.shapes import Float32, Int, UInt64

ROWS_AT_ONCE, FOLDERS_AT_ONCE = 1024, 65_536
"""Rows of a block."""
EFFORT = 4.0
"""The percentage of partitions that a search looks at."""
PROBES = 40
"""Partitions to look at, at least."""
FILTERED_ROWS = 1_000_000
"""For some paths, the partitions to look at hold so many rows, at least: who has such a path may
lie far from a query, behind all partitions that are near. To look at these takes 30 ms."""
FEW = 2000
"""So few photos with such paths are compared exactly: 5 ms, and 12 more a thousand."""
PLENTY = 8
"""Of some photos with such paths, the partitions to look at hold so many times those asked for."""
DISTANCE: Literal["l2"] = "l2"
"""Of an ANN index. Vectors have length 1, so it orders as the product does; but LanceDB quantizes
what is left to the centre of a partition, and for products whole vectors, which is coarser."""
REFINE = 10
"""A search takes so many times the rows that it needs, and compares these exactly."""
MOST_NAMES, MOST_CONDITIONS = 100_000, 100
"""Names, and conditions of patterns, that are remembered."""


@dataclass(frozen=True)
class LanceStore:
    """The rows as they were when it was opened. Methods raise DataError for a damaged table."""

    folder: Path
    config: IndexConfig
    table: Any
    """Of LanceDB, at the version of the config."""
    _names: dict[int, str] = field(default_factory=dict, compare=False)
    _conditions: dict[PathPattern, tuple[str | None, int]] = field(
        default_factory=dict, compare=False
    )

    @classmethod
    def open(cls, folder: Path) -> "LanceStore":
        """Raises DataError, and MissingExtraError where LanceDB is not installed."""
        needs_lancedb()
        with reading(folder):
            lock = share(table_folder(folder))  # so that nothing is removed that it needs
        try:
            store = cls.of(folder, read_index_config(folder))
        except BaseException:
            os.close(lock)
            raise
        weakref.finalize(store, os.close, lock)
        return store

    @classmethod
    def of(cls, folder: Path, config: IndexConfig) -> "LanceStore":
        """At the version of a config that was read."""
        with reading(folder):
            table = connect(folder).open_table(TABLE)
            if config.version:
                table.checkout(config.version)
            columns = set(table.schema.names)
        if missing := {"path", "folder", "key", "other_key", "stamps", *config.columns} - columns:
            raise DataError(f"{folder} has no column {min(missing)}; remove it, then {MEND}")
        return cls(folder, config, table)

    def __len__(self) -> int:
        with self._reading():
            return int(self.table.count_rows())

    @cached_property
    def folders(self) -> list[str]:
        """Of all names, as text, sorted: read once, in some 40 ms for a million rows."""
        found = set[str]()
        with self._reading():
            for batch in self.table.search().select(["folder"]).to_batches(FOLDERS_AT_ONCE):
                found.update(batch["folder"].unique().to_pylist())
        return sorted(found)

    def name(self, row: int) -> str:
        """What a row is of."""
        if row not in self._names:
            self._remember([row], self._taken("path", np.array([row])).to_pylist())
        return self._names[row]

    def names(self) -> Iterator[tuple[int, str]]:
        """The rows, and what they are of."""
        for rows, columns in self.blocks("path"):
            yield from zip(rows.tolist(), columns["path"], strict=True)

    def take(self, column: str, rows: Int[np.ndarray, " N"]) -> np.ndarray:
        """These rows of a column, in this order; all values are finite."""
        values = matrix_of(self._taken(column, rows))
        if not np.isfinite(values).all():
            raise DataError(
                f"{self.folder} is damaged (the {column} are not finite); remove it, then {MEND}"
            )
        return values

    def find_keys(self, keys: UInt64[np.ndarray, "N 2"]) -> Int[np.ndarray, " N"]:
        """The row of each name, of which these are the `keys_of`; -1 for one that is not there."""
        first = ", ".join(map(str, keys[:, 0].view(np.int64).tolist()))
        found = dict[tuple[int, ...], int]()
        for rows, columns in self.blocks("path", where=f"key IN ({first})") if len(keys) else ():
            own = map(tuple, keys_of(columns["path"]).tolist())
            found.update(zip(own, rows.tolist(), strict=True))
        return np.array([found.get(tuple(key), -1) for key in keys.tolist()], dtype=np.int64)

    def select(self, pattern: PathPattern | None, effort: float | None) -> "LanceSelection":
        """The rows that a search may find. Raises OptionsError if no path can match."""
        if pattern is None:
            return LanceSelection(self, None, None, len(self), effort)
        if pattern not in self._conditions:
            if len(self._conditions) == MOST_CONDITIONS:
                self._conditions.clear()
            self._conditions[pattern] = self._meeting(condition_of(pattern, self.folders))
        where, rows = self._conditions[pattern]
        if not rows:
            raise no_match(pattern)
        return LanceSelection(self, pattern, where, rows, effort)

    def _meeting(self, condition: str | None) -> tuple[str | None, int]:
        """A condition, and how many rows meet it."""
        with self._reading():
            return condition, int(self.table.count_rows(condition)) if condition else 0

    def blocks(self, *columns: str, where: str | None = None) -> Iterator[Block]:
        """Rows with some of their columns, some at a time, in the order of the rows."""
        query = self.table.search().select(list(columns)).with_row_id(True)
        with self._reading():
            for batch in (query.where(where) if where else query).to_batches(ROWS_AT_ONCE):
                rows = np.asarray(batch["_rowid"]).astype(np.int64)
                yield rows, {column: _values(batch[column], column) for column in columns}

    def nearest(
        self,
        vector: Float32[np.ndarray, " D"],
        count: int,
        where: str | None,
        probes: tuple[int, int],
    ) -> list[tuple[int, str]]:
        """Rows nearest to a vector, nearest first, with names.

        `probes` are the least and the most partitions to look at. A least of 0 is exact, and a most
        of 0 as many as hold so many rows.
        """
        least, most = probes
        query = self.table.search(vector, vector_column_name="vectors")
        query = (
            query.distance_type(DISTANCE if least else "dot")
            .select(["path", "_distance"])
            .with_row_id(True)
            .limit(count)
        )
        if least:
            query = query.minimum_nprobes(least).maximum_nprobes(most).refine_factor(REFINE)
        else:
            query = query.bypass_vector_index()
        with self._reading():
            found = (query.where(where, prefilter=True) if where else query).to_arrow()
        rows = found["_rowid"].to_pylist()
        self._remember(rows, found["path"].to_pylist())
        return [(row, self._names[row]) for row in rows]

    def _taken(self, column: str, rows: Int[np.ndarray, " N"]) -> Any:  # noqa: ANN401
        """A column of these rows, in this order."""
        different, places = np.unique(rows, return_inverse=True)
        with self._reading():
            query = self.table.take_row_ids(different.tolist()).select([column]).with_row_id()
            found = query.to_arrow()
            there = np.asarray(found["_rowid"]).astype(np.int64)
            order = np.argsort(there)
            if not np.array_equal(there[order], different):
                raise ValueError("rows are missing")
            return found[column].take(order[places])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """As `reading`, but of a version that was removed it is told what mends that."""
        try:
            with reading(self.folder):
                yield
        except DataError:
            if read_index_config(self.folder).version == self.config.version:
                raise
            raise DataError(
                f"{self.folder} has changed since it was opened; open it again"
            ) from None

    def _remember(self, rows: list[int], names: list[str]) -> None:
        if len(self._names) > MOST_NAMES:
            self._names.clear()
        self._names.update(zip(rows, map(name_from_text, names), strict=True))


@dataclass(frozen=True)
class LanceSelection:
    """Rows of a table; the nearest are found by its ANN index, if it has one."""

    store: LanceStore
    pattern: PathPattern | None
    where: str | None
    """A condition that all rows meet which match the pattern, and perhaps others."""
    meeting: int
    """How many rows meet it."""
    effort: float | None
    """The percentage of partitions to look at; 100 is exact."""

    def nearest(self, vector: Float32[np.ndarray, " D"], *, hubness: bool) -> Nearest:
        """Those nearest to a vector. Raises OptionsError if no path matches."""
        assert not hubness  # which sentences alone have
        return partial(self._best, vector)

    def _best(self, vector: Float32[np.ndarray, " D"], count: int) -> Int[np.ndarray, " C"]:
        asked, matches = count, self.pattern.matches if self.pattern else None
        probes = self.probes(count)
        while True:
            found = self.store.nearest(vector, asked, self.where, (probes, probes))
            if probes and len(found) < min(asked, self.meeting):
                found = self.store.nearest(vector, asked, self.where, (probes, 0))
            rows = [row for row, name in found if not matches or matches(name)]
            if len(rows) >= count or len(found) < asked:
                break
            asked *= 4
        if self.pattern and not rows:
            raise no_match(self.pattern)
        return np.array(rows[:count], dtype=np.int64)

    def probes(self, count: int) -> int:
        """Partitions to look at for so many rows; 0 for all vectors themselves."""
        partitions = self.store.config.partitions
        if not partitions or (self.effort is not None and self.effort >= 100):
            return 0
        if self.effort is not None:
            return math.ceil(partitions * self.effort / 100)
        share = EFFORT / 100
        if self.pattern:
            if self.meeting <= FEW:
                return 0
            share = max(share, PLENTY * count / self.meeting, FILTERED_ROWS / len(self.store))
        if share < 1:
            return max(PROBES, math.ceil(partitions * share))
        return 2 * partitions  # all of them, as their number is known about

    def blocks(self, *columns: str) -> Iterator[Block]:
        """All of them. Raises OptionsError if no path matches."""
        pattern, empty = self.pattern, True
        for rows, values in self.store.blocks("path", *columns, where=self.where):
            matching = [not pattern or pattern.matches(name) for name in values["path"]]
            chosen = np.flatnonzero(matching)
            empty = empty and not len(chosen)
            yield rows[chosen], {column: values[column][chosen] for column in columns}
        if pattern and empty:
            raise no_match(pattern)


def _values(column: Any, name: str) -> Any:  # noqa: ANN401
    if name == "path":
        return list(map(name_from_text, column.to_pylist()))
    return matrix_of(column)
