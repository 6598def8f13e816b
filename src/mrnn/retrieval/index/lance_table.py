"""LanceDB: the table of an index, how it is opened, and how its errors are told.

Letters: N rows.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mrnn.data.feature_store.keys import keys_of
from mrnn.data.feature_store.shard import STAMP, Rows
from mrnn.data.photos.names import name_as_text
from mrnn.errors import DataError, MissingExtraError
from mrnn.model.threads import thread_count
from mrnn.retrieval.index.config import MEND, IndexConfig
from mrnn.retrieval.index.path_pattern import folder_of

TABLE = "mrnn-rows"
"""The table's name; its folder has the suffix .lance."""
INDEX_CACHE, METADATA_CACHE = 2**28, 2**26
"""Bytes that a process keeps of an index, at most; the system's cache of files keeps more."""
PANICS = ("PanicException", "RustPanic")
"""The classes of a panic in LanceDB's Rust code, which no module has."""
_SYSTEM = re.compile(r"([A-Z][A-Za-z ]+?) \(os error \d+\)")
_NOISE = re.compile(r"(?:lance error: |LanceError\(\w+\): |Generic \w+ error: |Wrapped error: )+")
_SOURCE = re.compile(r",? (?:/\S+/|rust/)\S*\.rs\S*.*", re.DOTALL)


def table_folder(folder: Path) -> Path:
    """Of the table of an index."""
    return folder / f"{TABLE}.lance"


def needs_lancedb() -> None:
    """Raises MissingExtraError where LanceDB is not installed."""
    if find_spec("lancedb") is None:
        raise MissingExtraError("--engine lance needs LanceDB. Run: pip install 'mrnn[lance]'")


def connect(folder: Path) -> Any:  # noqa: ANN401
    """LanceDB on an index folder. It takes as many threads as everything else."""
    needs_lancedb()
    if not is_utf8(folder):
        raise DataError(f"{folder}: --engine lance needs a folder whose name is UTF-8; name one")
    for name, value in (
        ("LANCE_CPU_THREADS", str(thread_count())),
        ("LANCEDB_LOG", "off"),  # errors are told in one line, by ours
    ):
        os.environ.setdefault(name, value)
    import lancedb

    caches = lancedb.Session(
        index_cache_size_bytes=INDEX_CACHE, metadata_cache_size_bytes=METADATA_CACHE
    )
    return lancedb.connect(folder, session=caches)


def is_utf8(folder: Path) -> bool:
    """Whether LanceDB can name a folder."""
    return str(folder.absolute()) == name_as_text(str(folder.absolute()))


def schema_of(config: IndexConfig) -> Any:  # noqa: ANN401
    """The columns of a table."""
    import pyarrow as pa

    types = {"float16": pa.float16(), "float32": pa.float32()}
    columns = [
        pa.field(name, pa.list_(types[column.dtype], column.size))
        for name, column in sorted(config.columns.items())
    ]
    stamps = pa.field("stamps", pa.list_(pa.int64(), STAMP))
    keys = [pa.field(name, pa.int64()) for name in ("key", "other_key")]
    names = [pa.field(name, pa.string()) for name in ("path", "folder")]
    return pa.schema([*names, *keys, stamps, *columns])


def batch_of(rows: Rows, config: IndexConfig) -> Any:  # noqa: ANN401
    """Rows as a batch of a table."""
    import pyarrow as pa

    keys = keys_of(rows.names).view(np.int64)
    paths = [name_as_text(name) for name in rows.names]
    arrays = {
        "path": pa.array(paths, pa.string()),
        "folder": pa.array(map(folder_of, paths), pa.string()),
        "key": pa.array(keys[:, 0]),
        "other_key": pa.array(keys[:, 1]),
        "stamps": lists_of(rows.stamps),
        **{name: lists_of(values) for name, values in rows.columns.items()},
    }
    schema = schema_of(config)
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def lists_of(values: np.ndarray) -> Any:  # noqa: ANN401
    """A matrix as a column of lists."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def matrix_of(column: Any) -> np.ndarray:  # noqa: ANN401
    """A column of lists of one size as a matrix, one of numbers as a vector."""
    parts = column.chunks if hasattr(column, "chunks") else [column]
    if not hasattr(column.type, "list_size"):
        return np.concatenate([np.asarray(part) for part in parts])
    size = column.type.list_size
    return np.concatenate([np.asarray(part.flatten()).reshape(-1, size) for part in parts])


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turns what LanceDB raises while it reads into a DataError of one line."""
    with _told(folder, "is damaged ({}); remove it, then {}"):
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what LanceDB raises while it writes into a DataError of one line."""
    with _told(folder, "cannot be written ({}); mend that, then {}"):
        yield


@contextmanager
def _told(folder: Path, line: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{folder} {line.format(problem_of(error), MEND)}") from error
    except BaseException as error:
        if type(error).__name__ not in PANICS:
            raise
        raise DataError(f"{folder} {line.format(problem_of(error), MEND)}") from None


def problem_of(error: BaseException) -> str:
    """What LanceDB says is wrong, without where in its code."""
    text = str(error)
    if found := _SYSTEM.search(text):
        return found[1]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{_NOISE.sub('', _SOURCE.sub('', text)):.100}"
