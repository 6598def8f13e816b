"""Add rows to an index in a table of LanceDB, and remove some.

Every change makes a new version of the table; renaming config.json, which names the version that
counts, makes it count. So readers find the rows before or after, and what an interrupted run has
written beyond that version is dropped by the next.

Letters: N rows asked for, W rows at the start.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from mrnn.data.feature_store.keys import KeyTable, keys_of
from mrnn.data.feature_store.shard import STAMP, Derive, Rows
from mrnn.data.feature_store.store import CONFIG
from mrnn.data.feature_store.writer import FeatureWriter, row_writer
from mrnn.errors import DataError
from mrnn.locks import alone
from mrnn.outputs import write_whole
from mrnn.retrieval.index.config import MEND, IndexConfig
from mrnn.retrieval.index.lance_store import DISTANCE, ROWS_AT_ONCE, LanceStore
from mrnn.retrieval.index.lance_table import (
    TABLE,
    batch_of,
    connect,
    lists_of,
    matrix_of,
    schema_of,
    table_folder,
    writing,
)
from mrnn.shapes import Bool, Int

FRAGMENTS = 64
"""So many files of rows are merged."""
UNINDEXED = 10_000
"""So many rows outside the ANN index are added to it."""
ANN_ROWS = 20_000
"""An index of so many rows gets an ANN index; fewer are quickly compared one by one."""
GROWN = 4
"""An index that has grown so many times gets a new ANN index."""
ROWS_OF_PARTITION = 1000
"""Rows of a partition. From a million rows on there are as many partitions as each has rows, as the
time to find them grows with their square."""
BITS = 3
"""Of a number of a quantized vector. Fewer order vectors poorly that are all far from a query."""
ITERATIONS, SAMPLE = 10, 64
"""Of k-means, and rows of each partition that it sees."""
KEPT = timedelta(hours=1)
"""Versions that a reader may need stay so long."""
AT_ONCE, FOREVER = timedelta(milliseconds=1), timedelta(days=36_500)
REMOVED_AT_ONCE = 10_000


@dataclass(frozen=True)
class LanceRows:
    """The rows of a table by numbers from 0, in its order; for who writes."""

    store: LanceStore | None
    """None of a table that is yet to be made."""
    addresses: Int[np.ndarray, " W"]
    keys: KeyTable

    @classmethod
    def of(cls, store: LanceStore | None) -> "LanceRows":
        """Reads the keys of all rows: 32 bytes each."""
        found: list[tuple[np.ndarray, Mapping[str, np.ndarray]]] = []
        if store:
            found = list(store.blocks("key", "other_key"))
        addresses = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in found)])
        keys = [np.column_stack([block["key"], block["other_key"]]) for _, block in found]
        whole = np.concatenate([np.zeros((0, 2), np.int64), *keys]).view(np.uint64)
        return cls(store, addresses, KeyTable.of(whole, np.arange(len(addresses))))

    @property
    def kept(self) -> Bool[np.ndarray, " W"]:
        """All of them."""
        return np.ones(len(self.addresses), dtype=bool)

    def find(self, names: Sequence[str]) -> Int[np.ndarray, " N"]:
        """The row of each name, -1 for one that is not there."""
        return self.keys.find(keys_of(names))

    def names(self) -> Iterator[tuple[int, str]]:
        """The rows, and what they are of."""
        named = self.store.names() if self.store else iter(())
        yield from ((row, name) for row, (_, name) in enumerate(named))

    def take(self, column: str, rows: Int[np.ndarray, " N"]) -> np.ndarray:
        """These rows of a column, in this order."""
        assert self.store is not None
        return self.store.take(column, self.addresses[rows])

    def stamps(self, rows: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 3"]:
        """Size, time and hash of the photos that these rows are of."""
        if not len(rows):
            return np.zeros((0, STAMP), np.int64)
        return self.take("stamps", rows)


class LanceTarget:
    """A table, and the version of it that counts. Methods raise DataError."""

    def __init__(self, folder: Path, config: IndexConfig) -> None:
        self.folder, self.config = folder, config
        self.rows = LanceRows.of(None)
        """As they were at the start."""
        self._on_disk: IndexConfig | None = None
        self._table: Any = None
        self._removed: set[int] = set()
        self._rewritten = False
        self._is_unsure = False
        """Whether a change was interrupted, so that it may be made or not."""

    def take_over(self, old: IndexConfig, derive: Derive | None) -> None:
        """Go on from the version that counts; what was written beyond it is dropped.

        Columns other than features are computed anew by `derive`, if that is given.
        """
        with writing(self.folder):
            self._table = connect(self.folder).open_table(TABLE)
            if old.version and self._table.version != old.version:
                self._table.checkout(old.version)
                self._table.restore()
        self._on_disk = old
        ann = {"partitions": old.partitions, "partitioned": old.partitioned}
        self.config = self.config.model_copy(update=ann)
        if derive:
            self._write_again(derive)
        self._pin()
        self.rows = LanceRows.of(LanceStore.of(self.folder, self.config))

    def write(self, rows: Rows) -> None:
        """A version with these rows; it does not count yet."""
        with self._changing():
            if self._table is None:
                database, schema = connect(self.folder), schema_of(self.config)
                self._table = database.create_table(TABLE, schema=schema)
            self._table.add(batch_of(rows, self.config))

    def _write_again(self, derive: Derive) -> None:
        """A version with the same features, and the other columns computed from them."""
        import pyarrow as pa

        schema = schema_of(self.config)
        names = [name for name in schema.names if name not in self.config.columns]
        query = self._table.search().select([*names, "features"])

        def batches() -> Iterator[Any]:
            for batch in query.to_batches(ROWS_AT_ONCE):
                yield _derived(batch, derive, schema)

        with self._changing():
            reader = pa.RecordBatchReader.from_batches(schema, batches())
            self._table.add(reader, mode="overwrite")
        self._rewritten = True
        self.config = self.config.model_copy(update={"partitions": 0, "partitioned": 0})

    def commit(self, removed: Sequence[int]) -> None:
        """The present version without these rows counts from now on."""
        if self._table is None:
            return
        new = sorted({*removed} - self._removed)
        with self._changing():  # also if there are none: then it counts that all went well
            for start in range(0, len(new), REMOVED_AT_ONCE):
                part = self.rows.addresses[new[start : start + REMOVED_AT_ONCE]].tolist()
                self._table.delete(f"_rowid IN ({', '.join(map(str, part))})")
        self._removed.update(new)
        self._pin()

    def sweep(self) -> None:
        """Remove a table that never counted."""
        if self._on_disk is None:
            rmtree(table_folder(self.folder), ignore_errors=True)

    def tidy(self) -> None:
        """Merge files, keep the ANN index up to date, and remove old versions."""
        if self._table is None:
            return
        with self._changing():
            rows = self._table.count_rows()
            if scattered := self._is_scattered(rows):
                self._table.optimize(cleanup_older_than=FOREVER)
            if grown := rows >= max(ANN_ROWS, GROWN * self.config.partitioned):
                self._make_ann_index(rows)
        if scattered or grown or self._rewritten:
            self._remove_old_versions()

    def _remove_old_versions(self) -> None:
        """All of them, or where somebody reads those that are old enough.

        All versions since the one that counted last hold the same rows, so the last may count.
        """
        self._write_config(0)
        with self._changing(), alone(table_folder(self.folder)) as is_alone:
            older = AT_ONCE if is_alone else KEPT
            self._table.optimize(cleanup_older_than=older, delete_unverified=True)
        self._pin()

    def _is_scattered(self, rows: int) -> bool:
        files = self._table.stats()["fragment_stats"]["num_fragments"]
        outside = 0
        if self.config.partitions:
            found = self._table.index_stats("vectors_idx")
            outside = found.num_unindexed_rows if found else rows
        return bool(files >= FRAGMENTS or outside >= UNINDEXED)

    def _make_ann_index(self, rows: int) -> None:
        from lancedb.index import BTree, IvfRq, IvfSq

        partitions = max(1, round(min(rows / ROWS_OF_PARTITION, math.sqrt(rows))))
        is_whole = self.config.columns["vectors"].size % 8 == 0  # RaBitQ packs numbers by eight
        codes: Callable[..., Any] = partial(IvfRq, num_bits=BITS) if is_whole else IvfSq
        config = codes(  # LanceDB keeps to a size of partitions later on, but to no number of them
            distance_type=DISTANCE, target_partition_size=round(rows / partitions),
            max_iterations=ITERATIONS, sample_rate=SAMPLE,
        )  # fmt: skip
        self._table.create_index("vectors", config=config, replace=True)
        for column in ("key", "path", "folder"):  # a photo by its id, and photos by a pattern
            self._table.create_index(column, config=BTree(), replace=True)
        update = {"partitions": partitions, "partitioned": rows}
        self.config = self.config.model_copy(update=update)

    def _pin(self) -> None:
        """Make the present version of the table count."""
        self._write_config(self._table.version)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """A change of the table; after one that was interrupted there is no other."""
        if self._is_unsure:
            raise DataError(f"{self.folder}: a batch was interrupted; {MEND}")
        self._is_unsure = True
        with writing(self.folder):
            yield
        self._is_unsure = False

    def _write_config(self, version: int) -> None:
        config = self.config.model_copy(update={"version": version})
        if config != self._on_disk:
            with writing(self.folder):
                write_whole(self.folder / CONFIG, config.model_dump_json() + "\n")
        self.config = self._on_disk = config


def _derived(batch: Any, derive: Derive, schema: Any) -> Any:  # noqa: ANN401
    import pyarrow as pa

    features = matrix_of(batch["features"])
    new = {name: lists_of(values) for name, values in derive(features).items()}
    arrays = [new[name] if name in new else batch[name] for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def lance_writer(
    folder: Path, config: IndexConfig, old: IndexConfig | None, derive: Derive | None
) -> Iterator[FeatureWriter]:
    """A writer for a locked index, new or as `old` says. Raises DataError."""
    target = LanceTarget(folder, config)
    if old:
        target.take_over(old, derive if old.heads != config.heads else None)
    with row_writer(target.rows, target, derive) as writer:
        yield writer
