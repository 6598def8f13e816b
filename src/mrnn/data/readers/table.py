"""A table with a column of images, one of captions and, perhaps, one of splits.

An image in several rows has the captions of all; a row may also have a list of captions. A column
`image` of Hugging Face's datasets holds photos themselves: they are unpacked.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.data.readers.columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    Row,
    captions_in,
    cell_at,
    column_of,
    image_id,
    shown,
)
from mrnn.data.readers.embedded import Unpacker, is_embedded
from mrnn.data.readers.rows import read_rows
from mrnn.data.splits import split_name
from mrnn.errors import DataError, counted, shortened

_SHARD = re.compile(r"(train|val|valid|validation|dev|test)-\d+-of-\d+")


def read_table(
    sources: Sequence[Path],
    images: Path,
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
    split_column: str | None = None,
    delimiter: str | None = None,
    notes: list[str] | None = None,
) -> Iterator[CaptionedImage]:
    """The images in the order of their first rows; without a split column, without a split.

    Columns that are not named are known by their names. `split_column` defaults to split, if there
    is such a column; else a shard such as train-00000-of-00009.parquet names it. Raises DataError,
    with the line.
    """
    folder, unpacker = FilesBelow(images), Unpacker(images)
    found: dict[Path, tuple[str, str, str, list[str]]] = {}
    for source in sources:
        shard = _SHARD.fullmatch(source.name.split(".")[0])
        known: tuple[Row, str, str] | None = None
        rows = read_rows(source, delimiter=delimiter, caption_column=caption_column, notes=notes)
        for place, row in rows:
            where = f"{source}{place}"
            if known is None or row.keys() != known[0].keys():
                known = row, *_columns(row, image_column, caption_column, where)
            _, image, caption = known
            name, path = folder.find(_image_name(row, image, unpacker, where))
            split = split_name(shard[1]) if shard else ""
            if split_column or "split" in row:
                split = _split(row, split_column or "split", where)
            first, before, _, captions = found.setdefault(path, (where, split, name, []))
            if split != before:
                problem = f"{name!r:.80} is in {split!r:.40}, but in {before!r:.40} at {first}"
                raise DataError(f"{where}: {problem}")
            captions += captions_in(row[caption], cell_at(where, caption))
    if unpacker.written and notes is not None:
        photos, are = counted(unpacker.written, "photo"), "is" if unpacker.written == 1 else "are"
        notes.append(f"{photos} of {sources[0]} {are} now in {images}")
    for path, (_, split, name, captions) in found.items():
        yield CaptionedImage(name, path, split, tuple(captions))


def _image_name(row: Row, column: str, unpacker: Unpacker, where: str) -> str:
    cell = row[column]
    if is_embedded(cell):
        return unpacker.name_of(cell, row, where)
    try:
        return image_id(cell) if not isinstance(cell, str) or not cell.strip() else cell.strip()
    except ValueError as error:
        raise DataError(f"{cell_at(where, column)}: {error}") from None


def _columns(
    row: Row, image_column: str | None, caption_column: str | None, where: str
) -> tuple[str, str]:
    """The columns of images and of captions. Raises DataError."""
    return (
        _column(row, image_column, where)
        or column_of(
            row, IMAGE_COLUMNS, "photos", where=where, mend="; name one with --image-column"
        ),
        _column(row, caption_column, where)
        or column_of(
            row, CAPTION_COLUMNS, "captions", where=where, mend="; name one with --caption-column"
        ),
    )


def _column(row: Row, column: str | None, where: str) -> str:
    """The column that is asked for, if any is. Raises DataError if it is not there."""
    if column and column not in row:
        there = shortened(", ".join(row), 120)
        raise DataError(f"{where}: no column {column!r:.80}; there are: {there}")
    return column or ""


def _split(row: Row, column: str, where: str) -> str:
    cell = row[_column(row, column, where)]
    if not isinstance(cell, str):
        raise DataError(f"{cell_at(where, column)}: expected text, not {shown(cell)}")
    return split_name(cell)
