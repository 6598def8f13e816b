"""Make or update an index from bulk vectors; rows whose features are the same stay.

Letters: N photos of a block.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Rows
from mrnn.data.feature_store.writer import FeatureWriter
from mrnn.errors import DataError
from mrnn.retrieval.index.folder import EVERYTHING_STAYS, Scope, engine_of, index_writer
from mrnn.retrieval.index.index import IndexChanges, RetrievalModel
from mrnn.retrieval.index.vector_files import NAMES, VectorFiles, Vectors, told_twice
from mrnn.shapes import Bool, Int


def index_vectors(
    source: VectorFiles,
    folder: Path,
    model: RetrievalModel,
    on_photos: Callable[[int], None],
    on_problem: Callable[[str], None],
    scope: Scope = EVERYTHING_STAYS,
) -> IndexChanges:
    """Add the photos of bulk vectors to an index, or make one of them.

    Others stay, but not if `scope` prunes. `on_problem` gets a line for each photo without vectors,
    and for each that comes twice. Raises DataError as `index_photos`.
    """
    config = model.config("photos", engine_of(folder, scope.engine))
    config = config.model_copy(update={"names": NAMES[source.name]})
    with index_writer(folder, config, scope, None) as (writer, _):
        seen = np.zeros(len(writer.store.kept), dtype=bool)
        new = changed = 0
        for vectors in source.read():
            for error in vectors.errors:
                on_problem(error)
            rows = writer.store.find(vectors.names)
            fresh = _first_of(vectors.names, writer, seen, rows, on_problem)
            there = fresh & (rows >= 0)
            seen[rows[there]] = True
            other = there.copy()
            other[there] = _differ(vectors, there, rows, writer)
            writer.remove(rows[other].tolist())
            if len(chosen := np.flatnonzero(fresh & (other | (rows < 0)))):
                writer.write(_rows_of(vectors, chosen))
            new += int((fresh & (rows < 0)).sum())
            changed += int(other.sum())
            on_photos(len(vectors.names) + len(vectors.errors))
        if not (writer.store.kept.any() or new):
            raise DataError(f"{folder}: there are no vectors to index")
        away = np.flatnonzero(writer.store.kept & ~seen)
        writer.remove(away.tolist() if scope.prune else [])
    return IndexChanges(new, changed, *((len(away), 0) if scope.prune else (0, len(away))))


def _first_of(
    names: list[str],
    writer: FeatureWriter,
    seen: Bool[np.ndarray, " W"],
    rows: Int[np.ndarray, " N"],
    on_problem: Callable[[str], None],
) -> Bool[np.ndarray, " N"]:
    """Which of these photos come for the first time."""
    first, here = np.ones(len(names), dtype=bool), set[str]()
    for place, (name, row) in enumerate(zip(names, rows.tolist(), strict=True)):
        if name in here or writer.is_added(name) or (row >= 0 and seen[row]):
            on_problem(told_twice(name))
            first[place] = False
        here.add(name)
    return first


def _differ(
    vectors: Vectors,
    there: Bool[np.ndarray, " N"],
    rows: Int[np.ndarray, " N"],
    writer: FeatureWriter,
) -> Bool[np.ndarray, " M"]:
    """Which of the photos that are there have other vectors now."""
    if not there.any():
        return np.zeros(0, dtype=bool)
    before = (writer.store.take(column, rows[there]) for column in ("features", "vectors"))
    now = (vectors.features[there], vectors.vectors[there])
    differ = [(old != new).any(axis=1) for old, new in zip(before, now, strict=True)]
    return np.asarray(np.logical_or(*differ))


def _rows_of(vectors: Vectors, chosen: Int[np.ndarray, " M"]) -> Rows:
    columns = {"features": vectors.features[chosen], "vectors": vectors.vectors[chosen]}
    names = tuple(vectors.names[place] for place in chosen.tolist())
    return Rows(names, np.full((len(names), STAMP), UNKNOWN), columns)
