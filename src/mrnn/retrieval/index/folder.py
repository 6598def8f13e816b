"""The folder of an index that is to be written: what is there, what is refused, and its writer."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mrnn.data.feature_store.manifest import OURS, Manifest, derive_again
from mrnn.data.feature_store.shard import Derive
from mrnn.data.feature_store.store import CONFIG, FeatureStore
from mrnn.data.feature_store.writer import FeatureWriter, feature_writer
from mrnn.data.photos.names import name_as_text, name_from_text
from mrnn.errors import DataError
from mrnn.retrieval.index.config import MEND, Engine, IndexConfig, read_index_config
from mrnn.retrieval.index.lance_table import table_folder
from mrnn.retrieval.index.lance_writer import lance_writer


@dataclass(frozen=True)
class Scope:
    """What an index is of, and what may become of rows that are not named this time."""

    roots: Sequence[str | Path] = ()
    """Folders and globs of photos, or files of sentences, that it remembers from now on."""
    exclude: Sequence[str] = ()
    """Patterns of what is left out, in place of those that it remembers."""
    everything: bool = False
    """Look at the photos of all rows, not of those alone that are named."""
    prune: bool = False
    """Forget what is away or excluded: photos that are missing, sentences that are not named."""
    engine: Engine | None = None
    """What keeps the rows; by default what keeps them already, or else numpy."""


EVERYTHING_STAYS = Scope()
DEFAULT: Engine = "numpy"
"""The engine of a new index."""


@contextmanager
def index_writer(
    folder: Path, config: IndexConfig, scope: Scope, derive: Derive | None
) -> Iterator[tuple[FeatureWriter, IndexConfig]]:
    """A writer for a new index or an update, and the configuration that it will have.

    Features of the same encoder are taken over, and sentences of the same model. Raises DataError
    where the folder holds something else, or features of another encoder.
    """
    present(folder, config)  # refuses before anything is left in a folder of others
    with Manifest(folder, config, MEND).lock():
        old = present(folder, config)  # what another writer left just before counts
        config = _with_scope(config, old, scope)
        engine = lance_writer if config.engine == "lance" else _shard_writer
        with engine(folder, config, old, derive) as writer:
            yield writer, config


@contextmanager
def _shard_writer(
    folder: Path, config: IndexConfig, old: IndexConfig | None, derive: Derive | None
) -> Iterator[FeatureWriter]:
    """A writer for a locked index of shards, new or as `old` says. Raises DataError."""
    manifest = Manifest(folder, config, MEND)
    if old:
        manifest.take_over(old, rows=reusable(old, config))
        if derive and manifest.config.shards and old.heads != config.heads:
            _derive_again(manifest, old, derive)
    with feature_writer(manifest, derive) as writer:
        yield writer


def engine_of(folder: Path, asked: Engine | None) -> Engine:
    """The engine that is asked for, or else that of the index that is there."""
    if asked or not (folder / CONFIG).exists():
        return asked or DEFAULT
    return read_index_config(folder).engine


def _with_scope(config: IndexConfig, old: IndexConfig | None, scope: Scope) -> IndexConfig:
    """With the roots that are remembered, and the patterns."""
    before = old.roots if old else ()
    if scope.prune:
        before = tuple(root for root in before if is_root(name_from_text(root)))
    roots = dict.fromkeys((*before, *(name_as_text(os.path.abspath(root)) for root in scope.roots)))
    exclude = tuple(scope.exclude) or (old.exclude if old else ())
    return config.model_copy(update={"roots": tuple(roots), "exclude": exclude})


def is_root(path: str) -> bool:
    """Whether a folder or file is there, or a glob that may find some."""
    return os.path.lexists(path) or any(mark in path for mark in "*?[")


def _derive_again(manifest: Manifest[IndexConfig], old: IndexConfig, derive: Derive) -> None:
    there = old.model_copy(update={"shards": manifest.config.shards})
    derive_again(manifest, FeatureStore.of(manifest.folder, there, MEND), derive)


def present(folder: Path, config: IndexConfig) -> IndexConfig | None:
    """The config of the index that is there, if any."""
    if not (folder / CONFIG).exists():
        _refuse_others_folder(folder)
        return None
    found = read_index_config(folder)
    if found.holds != config.holds:
        raise DataError(
            f"{folder} is an index of {found.holds}, not of {config.holds}; give another folder"
        )
    if found.engine != config.engine:
        raise DataError(
            f"{folder} is an index of --engine {found.engine}, not {config.engine}; give another "
            "folder, or leave --engine out"
        )
    if config.holds == "photos" and found.names != config.names:
        holds = {"paths": "photos", "keys": "bulk vectors; add others by --from"}[found.names]
        raise DataError(f"{folder} is an index of {holds}; give another folder")
    if config.holds == "photos" and found.encoder != config.encoder:
        raise DataError(
            f"{folder} holds features of {found.encoder}, but the model takes those of "
            f"{config.encoder}; make another index, or remove this one first"
        )
    return found


def reusable(old: IndexConfig, config: IndexConfig) -> bool:
    """Whether the rows, or at least their features, are still valid."""
    return config.holds == "photos" or (old.model, old.heads) == (config.model, config.heads)


def _refuse_others_folder(folder: Path) -> None:
    """Refuse a folder with files that do not belong to an index."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; choose another folder") from None
    if others := [
        name for name in names if not (OURS.fullmatch(name) or name == table_folder(folder).name)
    ]:
        raise DataError(f"{folder} holds something else, {others[0]!r:.80}; choose another folder")
