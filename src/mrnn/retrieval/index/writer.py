"""Make or update an index of photos or sentences; only new and changed rows are computed.

Letters: W rows of the index.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from mrnn.data.extraction import PhotoUpdate
from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Rows
from mrnn.data.feature_store.writer import ROWS, FeatureWriter
from mrnn.data.photos.names import name_from_text
from mrnn.data.photos.paths import excluded_by
from mrnn.errors import DataError, OptionsError
from mrnn.retrieval.index.config import IndexConfig
from mrnn.retrieval.index.folder import (
    EVERYTHING_STAYS,
    Scope,
    engine_of,
    index_writer,
    present,
    reusable,
)
from mrnn.retrieval.index.index import IndexChanges, RetrievalModel, open_index
from mrnn.retrieval.index.names import IndexNames
from mrnn.retrieval.ranking import near_marginals
from mrnn.shapes import Bool
from mrnn.tokenizer import Vocabulary


def index_photos(
    photos: Iterable[str | Path],
    folder: Path,
    model: RetrievalModel,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
    scope: Scope = EVERYTHING_STAYS,
) -> IndexChanges:
    """Add photos to an index, or make one of them; other rows stay.

    `on_problem` gets a line for each photo that cannot be encoded. Raises DataError where there is
    no photo at all, and what `Manifest` raises.
    """

    def derive(features: np.ndarray) -> dict[str, np.ndarray]:
        return {"vectors": model.heads.embed_image(features)}

    made = model.config("photos", engine_of(folder, scope.engine))
    with index_writer(folder, made, scope, derive) as (writer, config):
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
    scope: Scope = EVERYTHING_STAYS,
) -> IndexChanges:
    """Add sentences to an index, or make one of them; log P(sentence) of new ones is computed.

    `on_problem` gets a line for each sentence without a known word; it is left out. Raises
    DataError where there is no sentence at all, and what `Manifest` raises.
    """
    if scope.engine == "lance":
        raise OptionsError("--engine lance is for photos; leave it out with sentences")
    config = model.config("sentences")
    before = _of_another_model(folder, config)
    with index_writer(folder, config, scope, None) as (writer, _):
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


def _unseen(writer: FeatureWriter, seen: Bool[np.ndarray, " W"]) -> Iterator[tuple[int, str]]:
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
    old = present(folder, config)
    if old is None or reusable(old, config):
        return []
    return [sentence for _, sentence in open_index(folder).names()]


def _looked_up(sentences: Iterable[str], writer: FeatureWriter) -> Iterator[tuple[str, int]]:
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
