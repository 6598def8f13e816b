"""Make or update an index of photos or sentences; only new and changed rows are computed.

Letters: W rows of the index.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from mrnn.data.extraction import PhotoUpdate
from mrnn.data.feature_store.manifest import OURS, Manifest, derive_again
from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Derive, Rows
from mrnn.data.feature_store.store import CONFIG, FeatureStore
from mrnn.data.feature_store.writer import ROWS, FeatureWriter, feature_writer
from mrnn.data.photo_names import name_as_text, name_from_text
from mrnn.data.photo_paths import excluded_by
from mrnn.errors import DataError
from mrnn.retrieval.index import (
    MEND,
    IndexChanges,
    IndexConfig,
    RetrievalModel,
    open_index,
    read_index_config,
)
from mrnn.retrieval.index_names import IndexNames
from mrnn.retrieval.ranking import near_marginals
from mrnn.shapes import Bool
from mrnn.tokenizer import Vocabulary


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


def index_photos(
    photos: Iterable[str | Path],
    folder: Path,
    model: RetrievalModel,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
    scope: Scope = Scope(),
) -> IndexChanges:
    """Add photos to an index, or make one of them; other rows stay.

    `on_problem` gets a line for each photo that cannot be encoded. Raises DataError where there is
    no photo at all, and what `Manifest` raises.
    """

    def derive(features: np.ndarray) -> dict[str, np.ndarray]:
        return {"vectors": model.heads.embed_image(features)}

    with _index_writer(folder, model.config("photos"), scope, derive) as (writer, config):
        update = PhotoUpdate(writer, lambda: model.encoder, on_problem)
        update.add(IndexNames(writer).named(photos), on_photo)
        away, excluded, leaves_out = update.away, list[int](), _left_out(config)

        def others() -> Iterator[tuple[str, str]]:
            for row, name in _unseen(writer, update.seen):
                if not os.path.exists(name):
                    away.append(row)
                elif scope.prune and leaves_out(name):
                    excluded.append(row)
                elif scope.everything:
                    yield name, name

        update.add(others())
        if not (writer.store.kept.any() or update.new):
            raise DataError(f"{folder}: no photo could be read, so there is nothing to index")
        gone = [*away, *excluded] if scope.prune else []
        writer.remove(gone)
    left = 0 if scope.prune else len(away)
    return IndexChanges(update.new, update.changed, len(gone) + update.lost, left)


def index_sentences(
    sentences: Iterable[str],
    folder: Path,
    model: RetrievalModel,
    on_sentence: Callable[[], None],
    on_problem: Callable[[str], None],
    scope: Scope = Scope(),
) -> IndexChanges:
    """Add sentences to an index, or make one of them; log P(sentence) of new ones is computed.

    `on_problem` gets a line for each sentence without a known word; it is left out. Raises
    DataError where there is no sentence at all, and what `Manifest` raises.
    """
    config = model.config("sentences")
    before = _of_another_model(folder, config)
    with _index_writer(folder, config, scope, None) as (writer, _):
        seen, added = np.zeros(len(writer.store.kept), dtype=bool), 0
        waiting: dict[str, list[int]] = {}
        for sentence, row in _looked_up(chain(sentences, before), writer):
            if row >= 0:
                seen[row] = True
            elif sentence not in waiting and not writer.is_added(sentence):
                ids = model.token_ids(sentence)
                if all(word == Vocabulary.UNK for word in ids):
                    on_problem(f"{sentence!r:.80}: has no word that the model knows")
                else:
                    waiting[sentence] = ids
            if len(waiting) == ROWS:
                writer.write(_sentence_rows(waiting, model))
                added += len(waiting)
                waiting.clear()
            on_sentence()
        if waiting:
            writer.write(_sentence_rows(waiting, model))
            added += len(waiting)
        if not (writer.store.kept.any() or added):
            raise DataError(f"{folder}: there are no sentences to index")
        away = np.flatnonzero(writer.store.kept & ~seen)
        writer.remove(away.tolist() if scope.prune else [])
    return IndexChanges(added, 0, *((len(away), 0) if scope.prune else (0, len(away))))


def _unseen(
    writer: FeatureWriter[IndexConfig], seen: Bool[np.ndarray, " W"]
) -> Iterator[tuple[int, str]]:
    """The rows whose photos did not come, with their names."""
    if (writer.store.kept & ~seen).any():
        yield from ((row, name) for row, name in writer.store.names() if not seen[row])


def _left_out(config: IndexConfig) -> Callable[[str], bool]:
    """Whether a photo's path has a pattern that is left out, from the root or from a folder."""
    leaves_out = excluded_by(config.exclude)
    folders = [os.path.join(name_from_text(root), "") for root in config.roots]

    def is_left_out(path: str) -> bool:
        below = [path[len(folder) :] for folder in folders if path.startswith(folder)]
        return any(map(leaves_out, below or [path.lstrip(os.sep)]))

    return is_left_out


def _of_another_model(folder: Path, config: IndexConfig) -> list[str]:
    """The sentences of an index whose numbers are another model's; they are computed again."""
    old = _present(folder, config)
    if old is None or _reusable(old, config):
        return []
    return [sentence for _, sentence in open_index(folder).names()]


def _looked_up(
    sentences: Iterable[str], writer: FeatureWriter[IndexConfig]
) -> Iterator[tuple[str, int]]:
    """Each sentence and its row at the start, -1 for none."""
    sentences = iter(sentences)
    while block := list(islice(sentences, ROWS)):
        yield from zip(block, writer.store.find(block).tolist(), strict=True)


def _sentence_rows(sentences: dict[str, list[int]], model: RetrievalModel) -> Rows:
    ids = list(sentences.values())
    vectors = model.heads.embed_text(ids)
    marginals = near_marginals(model.checkpoint.network, model.heads, ids)
    columns = {
        "vectors": vectors,
        "marginals": marginals[:, None],
        "hubness": model.heads.hubness_correction(vectors)[:, None],
    }
    return Rows(tuple(sentences), np.full((len(ids), STAMP), UNKNOWN), columns)


@contextmanager
def _index_writer(
    folder: Path, config: IndexConfig, scope: Scope, derive: Derive | None
) -> Iterator[tuple[FeatureWriter[IndexConfig], IndexConfig]]:
    """A writer for a new index or an update, and the configuration that it will have.

    Features of the same encoder are taken over, and sentences of the same model. Raises DataError
    where the folder holds something else, or features of another encoder.
    """
    _present(folder, config)  # refuses before anything is left in a folder of others
    manifest = Manifest(folder, config, MEND)
    with manifest.lock():
        old = _present(folder, config)  # what another writer left just before counts
        manifest.config = config = _with_scope(config, old, scope)
        if old:
            manifest.take_over(old, rows=_reusable(old, config))
            if derive and manifest.config.shards and old.heads != config.heads:
                _derive_again(manifest, old, derive)
        with feature_writer(manifest, derive) as writer:
            yield writer, config


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


def _present(folder: Path, config: IndexConfig) -> IndexConfig | None:
    """The config of the index that is there, if any."""
    if not (folder / CONFIG).exists():
        _refuse_others_folder(folder)
        return None
    found = read_index_config(folder)
    if found.holds != config.holds:
        raise DataError(
            f"{folder} is an index of {found.holds}, not of {config.holds}; give another folder"
        )
    if config.holds == "photos" and found.encoder != config.encoder:
        raise DataError(
            f"{folder} holds features of {found.encoder}, but the model takes those of "
            f"{config.encoder}; make another index, or remove this one first"
        )
    return found


def _reusable(old: IndexConfig, config: IndexConfig) -> bool:
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
    if others := [name for name in names if not OURS.fullmatch(name)]:
        raise DataError(f"{folder} holds something else, {others[0]!r:.80}; choose another folder")
