"""A table with a column of images, one of captions and, perhaps, one of splits.

.csv     a header, then a row a line; cells with commas in quotation marks
.tsv     likewise, a tab between cells; quotation marks are like other characters
.jsonl   a JSON object a line; its caption may be a list of captions

An image in several rows has the captions of all. A table may be packed, as t.csv.gz.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mrnn.data.dataset import CaptionedImage
from mrnn.data.splits import split_name
from mrnn.errors import DataError
from mrnn.files import first_problem, read_lines, read_text

Row = Mapping[str, Any]

_OBJECT = TypeAdapter(dict[str, Any])


def read_table(
    source: Path,
    images: Path,
    *,
    image_column: str = "image",
    caption_column: str = "caption",
    split_column: str | None = None,
) -> Iterator[CaptionedImage]:
    """The images in the order of their first rows; without a split column, without a split.

    `split_column` defaults to split, if there is such a column. Raises DataError, with the line.
    """
    found: dict[str, tuple[int, str, list[str]]] = {}
    for number, row in read_rows(source):
        where = f"{source}:{number}"
        name = _text(row, image_column, where).strip()
        if not name:
            raise DataError(f"{where}: no image in column {image_column!r}")
        split = ""
        if split_column or "split" in row:
            split = split_name(_text(row, split_column or "split", where))
        line, before, captions = found.setdefault(name, (number, split, []))
        if split != before:
            raise DataError(f"{where}: {name} is in {split!r}, but line {line} says {before!r}")
        captions += _captions(row, caption_column, where)
    for name, (_, split, captions) in found.items():
        yield CaptionedImage(name, images / name, split, tuple(captions))


def kind_of(file: Path) -> str:
    """What the name ends with, in lower case and without .gz, as ".csv"."""
    name = Path(file.name.lower())
    return Path(name.stem).suffix if name.suffix == ".gz" else name.suffix


def read_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a table, each with its line. Raises DataError."""
    match kind_of(file):
        case ".csv":
            return _name_cells(file, _read_csv(file))
        case ".tsv":
            return _name_cells(file, ((n, line.split("\t")) for n, line in read_lines(file)))
        case ".jsonl":
            return _read_objects(file)
    raise DataError(f"{file}: not a table; its name must end in .csv, .tsv or .jsonl")


def _read_csv(file: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(read_text(file)), strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: not CSV ({error})") from None


def _name_cells(file: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, Row]]:
    number, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{file}:{number}: two columns {twice[0]!r}; rename one")
    for number, cells in rows:
        if len(cells) != len(names):
            problem = f"{len(cells)} cells, but {len(names)} in the header"
            raise DataError(f"{file}:{number}: {problem}")
        yield number, dict(zip(names, cells, strict=True))


def _read_objects(file: Path) -> Iterator[tuple[int, Row]]:
    for number, line in read_lines(file):
        try:
            yield number, _OBJECT.validate_json(line, strict=True)
        except ValidationError as error:
            raise DataError(f"{file}:{number}: {first_problem(error)}") from None


def _cell(row: Row, column: str, where: str) -> object:
    if column not in row:
        there = ", ".join(row)
        raise DataError(f"{where}: no column {column!r}; there are: {there}")
    return row[column]


def _text(row: Row, column: str, where: str) -> str:
    cell = _cell(row, column, where)
    if not isinstance(cell, str):
        raise DataError(f"{where}: {column}: expected text, not {cell!r:.80}")
    return cell


def _captions(row: Row, column: str, where: str) -> list[str]:
    cell = _cell(row, column, where)
    if not isinstance(cell, list):
        return [_text(row, column, where)]
    for caption in cell:
        if not isinstance(caption, str):
            raise DataError(f"{where}: {column}: expected captions, not {caption!r:.80}")
    return cell
