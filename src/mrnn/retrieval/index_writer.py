"""Make or update an index of photos or sentences; only new and changed rows are computed.

Letters: S sentences.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from mrnn.data.extraction import add_photos
from mrnn.data.feature_manifest import OURS, Manifest, derive_again
from mrnn.data.feature_shard import UNKNOWN, Derive, Rows
from mrnn.data.feature_store import CONFIG, FeatureStore
from mrnn.data.feature_writer import ROWS, FeatureWriter, feature_writer
from mrnn.errors import DataError
from mrnn.retrieval.index import MEND, IndexChanges, IndexConfig, RetrievalModel, read_index_config
from mrnn.retrieval.ranking import near_marginals
from mrnn.tokenizer import Vocabulary


def index_photos(
    photos: Iterable[str | Path],
    folder: Path,
    model: RetrievalModel,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
) -> IndexChanges:
    """Index exactly these photos. `on_problem` gets a line for each that cannot be encoded.

    Raises DataError where no photo is left, and what `Manifest` raises.
    """

    def derive(features: np.ndarray) -> dict[str, np.ndarray]:
        return {"vectors": model.heads.embed_image(features)}

    with _index_writer(folder, model.config("photos"), derive) as writer:
        named = ((os.path.abspath(photo), photo) for photo in photos)
        added = add_photos(named, writer, lambda: model.encoder, on_photo, on_problem)
        if not (added.good.any() or added.new or added.changed):
            raise DataError(f"{folder}: no photo could be read, so there is nothing to index")
        gone = np.flatnonzero(writer.store.kept & ~added.good)
        writer.remove(gone.tolist())
    return IndexChanges(added.new, added.changed, len(gone) - added.changed)


def index_sentences(
    sentences: Iterable[str],
    folder: Path,
    model: RetrievalModel,
    on_sentence: Callable[[], None],
    on_problem: Callable[[str], None],
) -> IndexChanges:
    """Index exactly these sentences; log P(sentence) of new ones is computed here.

    `on_problem` gets a line for each sentence without a known word; it is left
    out. Raises DataError
    where no sentence is left, and what `Manifest` raises.
    """
    with _index_writer(folder, model.config("sentences"), None) as writer:
        kept, added = np.zeros(len(writer.store.kept), dtype=bool), 0
        waiting: dict[str, list[int]] = {}
        for sentence, row in _looked_up(sentences, writer):
            if row >= 0:
                kept[row] = True
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
        if not (kept.any() or added or waiting):
            raise DataError(f"{folder}: there are no sentences to index")
        gone = np.flatnonzero(writer.store.kept & ~kept)
        writer.remove(gone.tolist())
    return IndexChanges(added + len(waiting), 0, len(gone))


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
    stamps = np.full(len(ids), UNKNOWN)
    columns = {
        "vectors": vectors,
        "marginals": marginals[:, None],
        "hubness": model.heads.hubness_correction(vectors)[:, None],
    }
    return Rows(tuple(sentences), stamps, stamps, columns)


@contextmanager
def _index_writer(
    folder: Path, config: IndexConfig, derive: Derive | None
) -> Iterator[FeatureWriter[IndexConfig]]:
    """A writer for a new index or an update.

    Rows that another model made are not taken over, but features of the same encoder are. Raises
    DataError where the folder holds something else.
    """
    _present(folder, config)  # refuses before anything is left in a folder of others
    manifest = Manifest(folder, config, MEND)
    with manifest.lock():
        if old := _present(folder, config):  # what another writer left just before counts
            manifest.take_over(old, rows=_reusable(old, config))
            if derive and manifest.config.shards and old.heads != config.heads:
                _derive_again(manifest, old, derive)
        with feature_writer(manifest, derive) as writer:
            yield writer


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
    return found


def _reusable(old: IndexConfig, config: IndexConfig) -> bool:
    """Whether the rows, or at least their features, are still valid."""
    if config.holds == "photos":
        return old.encoder == config.encoder
    return (old.model, old.heads) == (config.model, config.heads)


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
