"""Parquet files with the bytes of photos, as Hugging Face's datasets are kept."""

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrnn.data.shards.photo import MAX_BYTES, ShardPhoto, Stream, photo_suffix
from mrnn.errors import DataError

PHOTO_NAMES = ("image", "photo", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes")
"""Names of columns of bytes that are photos; one column of bytes alone may have any name."""
KEY_NAMES = ("key", "__key__", "image_id", "id", "file_name", "filename", "path", "url")
ROWS = 64
"""Rows read at a time."""


def read_parquet(stream: Stream, name: str) -> Iterator[ShardPhoto]:
    """The photos of a Parquet file. The key is a column of that name, else the path, else the row.

    Raises DataError for another file, and for one without a column of photos.
    """
    try:
        file = pq.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()))
        photos, key = _columns(file.schema_arrow, name)
        row = 0
        wanted = [photos] if key is None else [photos, key]
        for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
            values = batch.to_pydict()
            keys = values[key] if key else [None] * batch.num_rows
            for value, own_key in zip(values[photos], keys, strict=True):
                yield _photo_of(value, own_key, row)
                row += 1
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: no whole Parquet file ({reason}); copy it again") from error


def _columns(schema: Any, name: str) -> tuple[str, str | None]:  # noqa: ANN401
    """The column of photos, and that of keys if there is one."""
    photos = [field.name for field in schema if _holds_bytes(field.type)]
    named = [each for each in PHOTO_NAMES if each in photos]
    if not named and len(photos) != 1:
        found = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise DataError(
            f"{name}: no column of photos, which is image, of bytes or of struct<bytes, path>; "
            f"it has {found:.150}"
        )
    text = [
        field.name for field in schema if pa.types.is_string(field.type)
        or pa.types.is_large_string(field.type) or pa.types.is_integer(field.type)
    ]  # fmt: skip
    return (named or photos)[0], next((each for each in KEY_NAMES if each in text), None)


def _holds_bytes(kind: Any) -> bool:  # noqa: ANN401
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _photo_of(value: bytes | dict[str, Any] | None, own_key: object, row: int) -> ShardPhoto:
    path = value.get("path") if isinstance(value, dict) else None
    content = value.get("bytes") if isinstance(value, dict) else value
    key = str(own_key) if own_key is not None else path or f"{row:09}"
    if not content:
        return ShardPhoto(key, error="no bytes in its row; write the photo into the Parquet file")
    if len(content) > MAX_BYTES:
        return ShardPhoto(key, error=f"larger than {MAX_BYTES:,} bytes; make a smaller copy")
    return ShardPhoto(key, content, photo_suffix(path or ""))
