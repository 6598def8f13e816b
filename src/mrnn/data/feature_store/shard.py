"""A shard: some rows of a feature store in one file, written whole or not at all, never changed.

It is a safetensors file. Beside the matrices of its store, as `features`, it holds for each row
`keys` (a hash of the name), the `stamps` of the photo, and `name_ends`, where its name ends among
the bytes of `names` (UTF-8). A stamp is a file's size in bytes, the time of its last change in ns,
and 64 bits of a hash of what it holds.

Letters: R rows, F image feature.
"""

import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrnn.data.feature_store.keys import keys_of
from mrnn.errors import DataError
from mrnn.files import parse_json
from mrnn.outputs import written_aside
from mrnn.shapes import Bool, Float, Float16, Int

ROWS_AT_ONCE = 1024
UNKNOWN = -1
"""Thrice, the stamp of what is no photo, or of a photo that was not seen."""
STAMP = 3
"""Numbers of a stamp."""
MOST_HEADER = 65_536
"""Bytes of a header; ours have some hundreds."""
NAMES = {"uint64": "U64", "int64": "I64", "float32": "F32", "float16": "F16", "uint8": "U8"}
"""The names of these types in safetensors."""


Stamp = tuple[int, int, int]


class Column(BaseModel):
    """A matrix with a row for each row of the store."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    dtype: Literal["float16", "float32"]
    size: int = Field(ge=1, le=2**24)
    """Numbers of a row."""


Derive = Callable[[Float16[np.ndarray, "R F"]], Mapping[str, Float[np.ndarray, "R _"]]]
"""The columns that are computed from features."""


@dataclass(frozen=True)
class Rows:
    """The content of a shard, to be written."""

    names: Sequence[str]
    stamps: Int[np.ndarray, "R 3"]
    columns: Mapping[str, Float[np.ndarray, "R _"]]


@dataclass(frozen=True)
class _Array:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        size = np.dtype(self.dtype).itemsize
        for axis in self.shape:
            size *= axis
        return size


@dataclass(frozen=True)
class Shard:
    """A shard on disk; its arrays are memory-mapped, and what they hold is not checked yet."""

    file: Path
    arrays: Mapping[str, np.ndarray]
    starts: Mapping[str, int]
    """Where in the file each array begins."""

    @classmethod
    def open(cls, file: Path, rows: int, columns: Mapping[str, Column]) -> "Shard":
        """Raises ValueError if it is not of this form, OSError if it cannot be read."""
        start, layout = _read_header(file, rows, columns)
        content = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        arrays, starts = {}, {}
        for array in layout:
            part = content[start : start + array.bytes]
            arrays[array.name] = part.view(_little(array.dtype)).reshape(array.shape)
            starts[array.name] = start
            start += array.bytes
        return cls(file, arrays, starts)

    def __len__(self) -> int:
        return len(self.arrays["keys"])

    def name(self, row: int) -> str:
        """Raises ValueError where the file is damaged."""
        ends, names = self.arrays["name_ends"], self.arrays["names"]
        start, end = int(ends[row - 1]) if row else 0, int(ends[row])
        if not 0 <= start <= end <= len(names):
            raise ValueError(f"the name of row {row + 1} is not in it")
        return names[start:end].tobytes().decode("utf-8", "surrogatepass")

    def names(self) -> list[str]:
        """Of all rows. Raises ValueError where the file is damaged."""
        content, start, names = self.arrays["names"].tobytes(), 0, []
        for row, end in enumerate(self.arrays["name_ends"].tolist(), start=1):
            if not start <= end <= len(content):
                raise ValueError(f"the name of row {row} is not in it")
            names.append(content[start:end].decode("utf-8", "surrogatepass"))
            start = end
        return names

    def blocks(self, name: str) -> Iterator[tuple[slice, np.ndarray]]:
        """An array, some rows at a time, read without the map: that would fill the memory."""
        array = self.arrays[name]
        numbers = array[:1].size
        with self.file.open("rb") as stream:
            stream.seek(self.starts[name])
            for start in range(0, len(self), ROWS_AT_ONCE):
                rows = min(ROWS_AT_ONCE, len(self) - start)
                block = np.fromfile(stream, array.dtype, rows * numbers)
                yield slice(start, start + rows), block.reshape(rows, *array.shape[1:])


def write_shard(file: Path, rows: Rows, columns: Mapping[str, Column]) -> None:
    """Raises OSError with the name of the file, and leaves nothing of it."""
    encoded = [name.encode("utf-8", "surrogatepass") for name in rows.names]
    arrays = {
        "keys": keys_of(rows.names),
        "stamps": rows.stamps,
        "name_ends": np.cumsum([len(name) for name in encoded]),
        "names": np.frombuffer(b"".join(encoded), np.uint8),
        **rows.columns,
    }
    layout = _layout(len(encoded), columns, len(arrays["names"]))
    _write(file, layout, (_as(arrays[array.name], array) for array in layout))


def merge_shards(
    file: Path,
    shards: Sequence[tuple[Shard, Bool[np.ndarray, " R"]]],
    names: Iterable[str],
    columns: Mapping[str, Column],
    derive: Derive | None = None,
) -> None:
    """One shard of those rows of several that are kept, which have these names.

    They are copied some at a time; with `derive`, of the columns the features alone, and the
    others are computed anew. Raises OSError as `write_shard`.
    """
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    ends = np.cumsum([len(name) for name in encoded])
    layout = _layout(len(encoded), columns, int(ends[-1]))

    def blocks() -> Iterator[np.ndarray]:
        for array in layout:
            if array.name == "names":
                yield np.frombuffer(b"".join(encoded), np.uint8)
            elif array.name == "name_ends":
                yield _as(ends, array)
            else:
                new = derive if array.name in columns and array.name != "features" else None
                for shard, kept in shards:
                    yield from _kept_blocks(shard, kept, array, new)

    _write(file, layout, blocks())


def _kept_blocks(
    shard: Shard, kept: Bool[np.ndarray, " R"], array: _Array, derive: Derive | None
) -> Iterator[np.ndarray]:
    for rows, block in shard.blocks("features" if derive else array.name):
        if (part := block[kept[rows]]).size:
            yield _as(derive(part)[array.name] if derive else part, array)


def _layout(rows: int, columns: Mapping[str, Column], name_bytes: int) -> list[_Array]:
    """What a file holds, in its order: wide numbers first, so that all are aligned."""
    wide = sorted(columns.items(), key=lambda item: (item[1].dtype == "float16", item[0]))
    return [
        _Array("keys", "uint64", (rows, 2)),
        _Array("stamps", "int64", (rows, STAMP)),
        _Array("name_ends", "int64", (rows,)),
        *(_Array(name, column.dtype, (rows, column.size)) for name, column in wide),
        _Array("names", "uint8", (name_bytes,)),
    ]


def _header(layout: Iterable[_Array]) -> dict[str, Any]:
    header, start = {}, 0
    for array in layout:
        end = start + array.bytes
        header[array.name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        start = end
    return header


def _read_header(file: Path, rows: int, columns: Mapping[str, Column]) -> tuple[int, list[_Array]]:
    """Where the arrays begin, and which they are. Nothing is allocated before it is checked."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would never answer
        raise ValueError("not a plain file")
    size = status.st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(size, MOST_HEADER):
            raise ValueError("not a whole shard")
        text = stream.read(length)
    try:
        header = parse_json(text, file, unique_keys=True)
    except DataError:
        raise ValueError("its header is no JSON") from None
    names = header.get("names") if isinstance(header, dict) else None
    shape = names.get("shape") if isinstance(names, dict) else None
    if not (
        isinstance(shape, list) and len(shape) == 1 and type(shape[0]) is int and shape[0] >= 0
    ):
        raise ValueError("its header has no names")
    layout = _layout(rows, columns, shape[0])
    for name, expected in _header(layout).items():
        if header.pop(name, None) != expected:
            raise ValueError(f"its {name} have another type, shape or place")
    if header:
        raise ValueError(f"it holds {next(iter(header))!r:.40} too")
    whole = 8 + length + sum(array.bytes for array in layout)
    if size != whole:
        raise ValueError(f"it has {size:,} bytes, not {whole:,}")
    return 8 + length, layout


def _as(values: np.ndarray, array: _Array) -> np.ndarray:
    """The array in the type and byte order of the file."""
    return np.ascontiguousarray(values, _little(array.dtype))


def _little(dtype: str) -> np.dtype:
    return np.dtype(dtype).newbyteorder("<")


def _write(file: Path, layout: Sequence[_Array], blocks: Iterable[np.ndarray]) -> None:
    """Written aside, to the disk, then renamed."""
    header = json.dumps(_header(layout), separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % 64)
    with written_aside(file, durable=True) as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        for block in blocks:
            stream.write(block.data if block.size else b"")
