"""Which shards of a feature store count; renaming config.json adds, replaces or merges them.

Letters: R rows of a shard.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import compress
from pathlib import Path
from typing import Generic

import numpy as np

from mrnn.data.feature_store.shard import Derive, Shard, merge_shards
from mrnn.data.feature_store.store import (
    CONFIG,
    SHARD,
    Config,
    FeatureStore,
    ShardEntry,
    damaged,
)
from mrnn.errors import DataError
from mrnn.locks import LOCK, locked_folder
from mrnn.outputs import ASIDE, write_whole
from mrnn.shapes import Bool

OURS = re.compile(rf"{re.escape(CONFIG)}|{SHARD.pattern}|{re.escape(LOCK)}|{re.escape(ASIDE)}.*")
"""The names of a store's files; others are somebody's own."""
ALIKE = 16
"""So many shards of one order of magnitude, to this base, are merged."""
WHOLE = ALIKE**3
"""Shards of so many rows are large enough."""
MOST_REMOVED = 1 / 16
"""A shard of whose rows a greater fraction is removed is written anew."""


class Manifest(Generic[Config]):
    """config.json, now and next. Methods raise DataError if nothing can be written."""

    def __init__(self, folder: Path, config: Config, mend: str) -> None:
        self.folder, self.config, self.mend = folder, config, mend
        self._on_disk: Config | None = None

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Turns an OSError into a DataError that names the folder and the mend."""
        try:
            yield
        except OSError as error:
            problem = f"cannot be written ({error.strerror}); mend that, then {self.mend}"
            raise DataError(f"{self.folder} {problem}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Makes the folder if there is none, and keeps other writers out.

        A folder that it made, and in which there is nothing in the end, is removed again.
        """
        with ExitStack() as held:
            with self.naming():
                held.enter_context(locked_folder(self.folder))
            yield

    def take_over(self, old: Config, *, rows: bool) -> None:
        """Go on from what is there, with its rows or without them."""
        self._on_disk = old
        kept = old.shards if rows else ()
        there = tuple(entry for entry in kept if (self.folder / entry.file).exists())
        self.config = self.config.model_copy(update={"made": old.made, "shards": there})

    def new_shard(self, rows: int, write: Callable[[Path], None]) -> ShardEntry:
        """A shard that `write` writes; it does not count yet."""
        made = self.config.made + 1
        entry = ShardEntry(file=f"shard-{made:06}.safetensors", rows=rows)
        with self.naming():
            write(self.folder / entry.file)
        self.config = self.config.model_copy(update={"made": made})
        return entry

    def commit(self, shards: Sequence[ShardEntry]) -> None:
        """From now on only these shards count."""
        config = self.config.model_copy(update={"shards": tuple(shards)})
        if config != self._on_disk:
            with self.naming():
                write_whole(self.folder / CONFIG, config.model_dump_json() + "\n")
        self.config = self._on_disk = config

    def sweep(self) -> None:
        """Remove the files of shards that do not count."""
        present = {entry.file for entry in self._on_disk.shards} if self._on_disk else set()
        with self.naming():
            for name in os.listdir(self.folder):
                if SHARD.fullmatch(name) and name not in present:
                    with suppress(PermissionError):  # Windows, of what is mapped: the next run's
                        (self.folder / name).unlink()


def derive_again(manifest: Manifest[Config], old: FeatureStore[Config], derive: Derive) -> None:
    """Put in the place of `old` its features, with the other columns computed anew."""
    manifest.commit([
        _merge(manifest, [(shard, entry)], derive)
        for shard, entry in zip(old.shards, old.config.shards, strict=True)
    ])  # fmt: skip


def merge_small(manifest: Manifest[Config]) -> None:
    """Merge shards while there are many of one size, and rewrite those that lost many rows.

    So a row is copied three times at most while a store grows. Of a million rows there are some
    125 shards of 8,000, and 45 smaller ones at most.
    """
    while places := _to_merge(manifest.config.shards):
        shards = list(manifest.config.shards)
        chosen = [shards[place] for place in places]
        config = manifest.config.model_copy(update={"shards": tuple(chosen)})
        opened = FeatureStore.of(manifest.folder, config, manifest.mend).shards
        shards[places[0]] = _merge(manifest, list(zip(opened, chosen, strict=True)))
        manifest.commit([shard for place, shard in enumerate(shards) if place not in places[1:]])
        manifest.sweep()


def _merge(
    manifest: Manifest[Config],
    parts: Sequence[tuple[Shard, ShardEntry]],
    derive: Derive | None = None,
) -> ShardEntry:
    kept = [(shard, entry.kept) for shard, entry in parts]
    names = [name for part in kept for name in _names(*part, manifest.mend)]
    columns = manifest.config.columns
    return manifest.new_shard(
        len(names), lambda file: merge_shards(file, kept, names, columns, derive)
    )


def _names(shard: Shard, kept: Bool[np.ndarray, " R"], mend: str) -> list[str]:
    try:
        return list(compress(shard.names(), kept.tolist()))
    except ValueError as error:
        raise damaged(shard.file, error, mend) from error


def _to_merge(entries: Sequence[ShardEntry]) -> list[int]:
    """The places of the shards to be merged next; none, if the store is in order."""
    alike: dict[int, list[int]] = {}
    for place, entry in enumerate(entries):
        if len(entry.removed) > MOST_REMOVED * entry.rows:
            return [place]
        rows = entry.rows - len(entry.removed)
        if rows < WHOLE:
            same = alike.setdefault(int(math.log(rows) / math.log(ALIKE) + 1e-9), [])
            same.append(place)
            if len(same) == ALIKE:
                return same
    return []
