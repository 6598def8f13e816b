"""Vectors in Parquet files: those that `mrnn embed` wrote, read to be indexed; and exports.

Letters: N photos, F image feature, D joint embedding.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mrnn.data.feature_store.store import FeatureStore
from mrnn.data.photos.names import name_as_text, name_from_text
from mrnn.data.shards.shard import needs_pyarrow
from mrnn.errors import DataError, printable
from mrnn.outputs import written_aside
from mrnn.retrieval.index.index import Index, RetrievalModel
from mrnn.retrieval.index.lance_table import lists_of, matrix_of
from mrnn.retrieval.index.selection import Selection, ShardSelection
from mrnn.shapes import Float16, Float32

ROWS = 4096
"""Rows that are read together."""
MEND = "make such files with mrnn embed"
NAMES = {"path": "paths", "key": "keys"}
"""Columns of names, and what an index says of them."""
COLUMNS = {"vectors": "embedding", "features": "feature"}
"""The columns of an index of photos, and those of the files."""


@dataclass(frozen=True)
class Vectors:
    """Photos with their vectors."""

    names: list[str]
    features: Float16[np.ndarray, "N F"]
    vectors: Float32[np.ndarray, "N D"]
    errors: list[str]
    """What is wrong with photos without vectors, which are left out."""


@dataclass(frozen=True)
class VectorFiles:
    """Parquet files of vectors, all by one model."""

    files: list[Path]
    name: str
    """The column of names."""
    rows: int

    @classmethod
    def find(cls, source: Path, model: RetrievalModel) -> "VectorFiles":
        """A file, or those of a folder, in order of their names.

        Raises DataError where there is none, or one is of something else or of another model;
        MissingExtraError where Parquet cannot be read.
        """
        needs_pyarrow()
        if not source.exists():
            raise DataError(f"{source} does not exist; {MEND}")
        files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
        if not files:
            raise DataError(f"{source} has no Parquet file; {MEND}")
        names, rows = set(), 0
        for file in files:
            with _open(file) as opened:
                names.add(_check(file, opened.schema_arrow, model))
                rows += opened.metadata.num_rows
        if len(names) > 1:
            raise DataError(f"{source} has files with keys and files with paths; index one kind")
        return cls(files, names.pop(), rows)

    def read(self) -> Iterator[Vectors]:
        """All rows, some at a time. Raises DataError for a damaged file."""
        columns = [self.name, *COLUMNS.values()]
        for file in self.files:
            with _told(file), _open(file) as opened:
                errors = ["error"] if "error" in opened.schema_arrow.names else []
                for batch in opened.iter_batches(ROWS, columns=columns + errors):
                    yield self._vectors(batch, file)

    def _vectors(self, batch: Any, file: Path) -> Vectors:  # noqa: ANN401
        there = np.asarray(batch["embedding"].is_valid())
        errors = batch["error"].filter(~there).to_pylist() if "error" in batch.schema.names else []
        batch = batch.filter(there)
        features, vectors = (matrix_of(batch[column]) for column in ("feature", "embedding"))
        if not (np.isfinite(features).all() and np.isfinite(vectors).all()):
            raise DataError(f"{file} is damaged (a vector is not finite); {MEND}")
        names = list(map(name_from_text, batch[self.name].to_pylist()))
        return Vectors(names, features, vectors, errors)


def _open(file: Path) -> Any:  # noqa: ANN401
    import pyarrow.parquet as pq

    with _told(file):
        return pq.ParquetFile(file)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Turns what is wrong with a Parquet file into a DataError of one line."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise DataError(f"{file}: no whole Parquet file ({reason:.100}); {MEND}") from None


def _check(file: Path, schema: Any, model: RetrievalModel) -> str:  # noqa: ANN401
    """The column of names of a file that holds vectors of the model. Raises DataError."""
    try:
        about = json.loads((schema.metadata or {})[b"mrnn"])
        holds, made = about["holds"], (about["model"], about["heads"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{file} is not by mrnn embed; {MEND}") from None
    name = next((name for name in NAMES if name in schema.names), None)
    if holds != "embeddings" or name is None:
        raise DataError(f"{file} holds {holds!s:.40}, not vectors of photos; {MEND}")
    if "embedding" not in schema.names:
        raise DataError(f"{file} has no joint embeddings, as its model has no heads; {MEND}")
    if made != (model.checkpoint.fingerprint, model.heads.fingerprint):
        raise DataError(
            f"{file} is of another model than {model.checkpoint.folder}; name its model by --model"
        )
    columns = model.config("photos").columns
    sizes = {column: _list_size(schema.field(own).type) for column, own in COLUMNS.items()}
    if sizes != {column: (columns[column].dtype, columns[column].size) for column in COLUMNS}:
        raise DataError(f"{file} has vectors of other sizes than its model makes; {MEND}")
    return name


def _list_size(kind: Any) -> tuple[str, int]:  # noqa: ANN401
    """The type and number of values of each row."""
    types = {"halffloat": "float16", "float": "float32"}
    value = types.get(str(getattr(kind, "value_type", "")), "")
    return value, int(getattr(kind, "list_size", -1))


def export_vectors(index: Index, file: Path, on_row: Callable[[int], None]) -> None:
    """Write an index as a Parquet file: names, vectors and what made them.

    An index of photos can be read again by `VectorFiles`. Raises DataError for a damaged index,
    OSError where the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    config = index.config
    name = {"paths": "path", "keys": "key"}[config.names]
    name = name if config.holds == "photos" else "sentence"
    columns = {column: COLUMNS.get(column, column) for column in config.columns}
    types = {"float16": pa.float16(), "float32": pa.float32()}
    fields = [
        pa.field(own, pa.list_(types[config.columns[column].dtype], config.columns[column].size))
        for column, own in columns.items()
    ]
    holds = "embeddings" if config.holds == "photos" else config.holds
    about = {
        "holds": holds, "model": config.model, "heads": config.heads,
        "encoder": config.encoder.model_dump(mode="json"),
    }  # fmt: skip
    schema = pa.schema([pa.field(name, pa.string()), *fields], metadata={"mrnn": json.dumps(about)})
    names = (each for _, each in index.names())
    with written_aside(file) as stream, pq.ParquetWriter(stream, schema) as writer:
        for rows, values in _all(index).blocks(*columns):
            own = map(name_as_text, islice(names, len(rows)))
            arrays = [pa.array(own, pa.string()), *(lists_of(values[c]) for c in columns)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            on_row(len(rows))


def _all(index: Index) -> Selection:
    if isinstance(index, FeatureStore):
        return ShardSelection.of(index)
    return index.select(None, None)


def told_twice(name: str) -> str:
    """The line about a key that is there twice."""
    return f"{printable(name)}: comes twice; its first vectors count"
