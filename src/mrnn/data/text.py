"""Captions without photos, in a text file.

.txt   a caption a line
.tsv   a caption a line, in its last column, or in the column that a first line names
.csv   a header, then a row a line

A header names the column: caption, sentence, text or the like. What stands first in a .tsv without
a header, up to a "#", or in a column named image or the like, is the name of the photo.
Any file may be packed, as in captions.tsv.gz.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mrnn.data.readers.cells import kind_of
from mrnn.data.readers.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, column_of
from mrnn.data.readers.rows import PlacedRow, read_rows
from mrnn.errors import DataError
from mrnn.files import read_lines
from mrnn.tokenizer import tokenize


class TextCaption(NamedTuple):
    """A caption of a photo that is not there."""

    words: list[str]
    photo: str
    """Its name; empty where the file does not tell it."""


def read_text_captions(file: Path) -> Iterator[TextCaption]:
    """Each caption; those without words are left out.

    Raises DataError, with the line, and for a file without captions.
    """
    found = False
    for caption, photo in _captions(file):
        if words := tokenize(caption):
            found = True
            yield TextCaption(words, photo)
    if not found:
        raise DataError(f"{file}: no caption is in it; give a file with a caption a line")


def _captions(file: Path) -> Iterator[tuple[str, str]]:
    """And the photo of each."""
    match kind_of(file):
        case ".txt":
            return ((line, "") for _, line in read_lines(file))
        case ".tsv":
            return _read_tsv(file)
        case ".csv":
            return _column(file, read_rows(file))
    raise DataError(
        f"{file}: not a text of captions; its name must end in .txt, .tsv or .csv, or in these "
        "and .gz"
    )


def _read_tsv(file: Path) -> Iterator[tuple[str, str]]:
    for number, (line, text) in enumerate(read_lines(file)):
        *before, caption = text.split("\t")
        names = [name.strip().lower() for name in (*before, caption)]
        if number == 0 and any(name in CAPTION_COLUMNS for name in names):
            yield from _column(file, read_rows(file))
            return
        if not before:
            raise DataError(
                f"{file}:{line}: no tab before a caption; write ID, a tab and the caption, or "
                "name the file .txt"
            )
        yield caption, before[0].partition("#")[0]


def _column(file: Path, rows: Iterator[PlacedRow]) -> Iterator[tuple[str, str]]:
    column = photo = ""
    for _, row in rows:
        column = column or column_of(row, CAPTION_COLUMNS, "captions", where=f"{file}:1")
        photo = photo or next((each for each in row if each.strip().lower() in IMAGE_COLUMNS), "")
        yield row[column], row[photo] if photo else ""
