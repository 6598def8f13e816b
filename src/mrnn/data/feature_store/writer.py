"""Add rows to a feature store, and remove some.

An interrupted run continues; it loses the work since the last shard, at most 500 photos or half a
minute.

Letters: F image feature.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic

import numpy as np

from mrnn.data.feature_store.keys import KeyTable, keys_of
from mrnn.data.feature_store.manifest import Manifest, merge_small
from mrnn.data.feature_store.shard import Derive, Rows, Stamp, write_shard
from mrnn.data.feature_store.store import Config, FeatureStore, ShardEntry
from mrnn.errors import DataError
from mrnn.shapes import Float16

ROWS, SECONDS = 500, 30.0
"""A shard is written when so many rows wait, or when the last was written so long ago."""


class FeatureWriter(Generic[Config]):
    """The next state of a store, while it is made."""

    def __init__(self, manifest: Manifest[Config], derive: Derive | None, *, at_once: bool) -> None:
        self.store = FeatureStore.of(manifest.folder, manifest.config, manifest.mend)
        """The store at the start."""
        self._manifest, self._derive, self._at_once = manifest, derive, at_once
        self._new: list[ShardEntry] = []
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
        """A shard of these rows, in which those that wait may be. Raises DataError."""
        columns = self._manifest.config.columns
        entry = self._manifest.new_shard(len(rows.names), lambda f: write_shard(f, rows, columns))
        self._waiting.clear()  # first of all: a row must not be written twice
        self._new.append(entry)
        keys = keys_of(rows.names)
        self._written = self._written.and_keys(keys, np.zeros(len(keys), np.int64))
        if not self._at_once:
            self.commit()
        self._last = time.monotonic()

    def remove(self, rows: Sequence[int]) -> None:
        """Remove rows of `store`; this takes effect with the next shard or at the end."""
        self._removed += rows

    def commit(self) -> None:
        """Make written rows count and removed ones not. Raises DataError."""
        self._manifest.commit([*self._old_shards(), *self._new])

    def keep(self) -> None:
        """Write the rows so far, if there are any. Raises DataError."""
        self.flush()
        if self._new:
            self.commit()

    def _old_shards(self) -> Iterator[ShardEntry]:
        removed = np.unique(np.array(self._removed, dtype=np.int64))
        for entry, start in zip(self.store.config.shards, self.store.starts, strict=False):
            own = removed[(removed >= start) & (removed < start + entry.rows)] - start
            every = sorted({*entry.removed, *own.tolist()})
            if len(every) < entry.rows:
                yield entry.model_copy(update={"removed": tuple(every)})


@contextmanager
def feature_writer(
    manifest: Manifest[Config], derive: Derive | None = None, *, at_once: bool = False
) -> Iterator[FeatureWriter[Config]]:
    """A writer for a locked store, from its present rows; `derive` gives other columns.

    Each shard counts as soon as it is written; with `at_once` all of them at the end, or none.
    Raises DataError.
    """
    manifest.sweep()
    writer = FeatureWriter(manifest, derive, at_once=at_once)
    try:
        yield writer
    except BaseException:
        with suppress(DataError):
            if not at_once:
                writer.keep()
            manifest.sweep()
        raise
    writer.flush()
    writer.commit()
    merge_small(manifest)
    manifest.sweep()
