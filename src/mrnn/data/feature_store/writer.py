"""Add rows to a feature store, and remove some.

An interrupted run continues; it loses the work since the last shard, at most 500 photos or half a
minute.

Letters: F image feature.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from mrnn.data.feature_store.keys import KeyTable, keys_of
from mrnn.data.feature_store.manifest import Manifest, merge_small
from mrnn.data.feature_store.rows import RowStore, RowTarget
from mrnn.data.feature_store.shard import Derive, Rows, Stamp, write_shard
from mrnn.data.feature_store.store import Config, FeatureStore, ShardEntry
from mrnn.errors import DataError
from mrnn.shapes import Float16

ROWS, SECONDS = 500, 30.0
"""Rows are written when so many wait, or when the last were written so long ago."""


class FeatureWriter:
    """The next state of a store, while it is made."""

    def __init__(
        self, store: RowStore, target: RowTarget, derive: Derive | None, *, at_once: bool
    ) -> None:
        self.store = store
        """As it was at the start."""
        self._target, self._derive, self._at_once = target, derive, at_once
        self._removed: list[int] = []
        self._waiting: dict[str, tuple[Stamp, np.ndarray]] = {}
        self._written = KeyTable.of(keys_of([]), np.zeros(0, np.int64))
        self._last = time.monotonic()

    def is_added(self, name: str) -> bool:
        """Whether this run has added a row of that name."""
        return name in self._waiting or bool(self._written.find(keys_of([name]))[0] >= 0)

    def add(self, name: str, stamp: Stamp, feature: Float16[np.ndarray, " F"]) -> None:
        """A photo: its name, the stamp of its file, its feature. Raises DataError."""
        self._waiting[name] = stamp, feature
        if len(self._waiting) >= ROWS or time.monotonic() - self._last >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait. Raises DataError, as on a full disk."""
        if self._waiting:
            stamps, features = zip(*self._waiting.values(), strict=True)
            columns = {"features": np.stack(features)}
            if self._derive:
                columns |= self._derive(columns["features"])
            self.write(Rows(tuple(self._waiting), np.array(stamps, np.int64), columns))

    def write(self, rows: Rows) -> None:
        """Write these rows, in which those that wait may be. Raises DataError."""
        self._target.write(rows)
        self._waiting.clear()  # first of all: a row must not be written twice
        keys = keys_of(rows.names)
        self._written = self._written.and_keys(keys, np.zeros(len(keys), np.int64))
        if not self._at_once:
            self.commit()
        self._last = time.monotonic()

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows of `store`; this takes effect with the next write or at the end."""
        self._removed += rows

    def commit(self) -> None:
        """Make written rows count and removed ones not. Raises DataError."""
        self._target.commit(self._removed)

    def keep(self) -> None:
        """Write the rows so far, if there are any. Raises DataError."""
        self.flush()
        if len(self._written.rows):
            self.commit()


class ShardTarget:
    """Shards, which a manifest lists."""

    def __init__(self, manifest: Manifest[Config], store: FeatureStore[Config]) -> None:
        self._manifest, self._store = manifest, store
        self._new: list[ShardEntry] = []

    def write(self, rows: Rows) -> None:
        """A shard of these rows."""
        columns = self._manifest.config.columns
        self._new.append(
            self._manifest.new_shard(len(rows.names), lambda f: write_shard(f, rows, columns))
        )

    def commit(self, removed: Sequence[int]) -> None:
        """A manifest with the new shards, and without these rows of the old ones."""
        self._manifest.commit([*self._old_shards(np.unique(np.array(removed, int))), *self._new])

    def sweep(self) -> None:
        """Remove the files of shards that do not count."""
        self._manifest.sweep()

    def tidy(self) -> None:
        """Merge small shards."""
        merge_small(self._manifest)
        self._manifest.sweep()

    def _old_shards(self, removed: np.ndarray) -> Iterator[ShardEntry]:
        for entry, start in zip(self._store.config.shards, self._store.starts, strict=False):
            own = removed[(removed >= start) & (removed < start + entry.rows)] - start
            every = sorted({*entry.removed, *own.tolist()})
            if len(every) < entry.rows:
                yield entry.model_copy(update={"removed": tuple(every)})


@contextmanager
def feature_writer(
    manifest: Manifest[Config], derive: Derive | None = None, *, at_once: bool = False
) -> Iterator[FeatureWriter]:
    """A writer for a locked store of shards, from its present rows. The rest as `row_writer`."""
    store = FeatureStore.of(manifest.folder, manifest.config, manifest.mend)
    with row_writer(store, ShardTarget(manifest, store), derive, at_once=at_once) as writer:
        yield writer


@contextmanager
def row_writer(
    store: RowStore, target: RowTarget, derive: Derive | None = None, *, at_once: bool = False
) -> Iterator[FeatureWriter]:
    """A writer for a locked store; `derive` gives the other columns of a feature.

    Each batch counts as soon as it is written; with `at_once` all of them at the end, or none.
    Raises DataError.
    """
    target.sweep()
    writer = FeatureWriter(store, target, derive, at_once=at_once)
    try:
        yield writer
    except BaseException:
        with suppress(DataError):
            if not at_once:
                writer.keep()
            target.sweep()
        raise
    writer.flush()
    writer.commit()
    target.tidy()
