"""Text files with a header and a row a line, whose cells a delimiter divides.

People's tables are not always as their header says. A row that leaves one reading is read, and
noted: a quotation mark that encloses no cell is a mark like others, and delimiters that are too
many belong to the caption.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.data.csv_cells import from_cell
from mrnn.data.images import SUFFIXES
from mrnn.data.readers.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, Row, shown
from mrnn.errors import DataError, shortened
from mrnn.files import read_text

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LONGEST_LINE = 2**17
"""Characters."""

Cells = list[str]


@dataclass
class _Odd:
    """Lines that were not read as they are written: how many, and what came of the first."""

    first: str = ""
    count: int = 0

    def add(self, note: str) -> None:
        self.first = self.first or note
        self.count += 1


def kind_of(file: Path) -> str:
    """What the name ends with, in lower case and without .gz, as ".csv"."""
    name = Path(file.name.lower())
    return Path(name.stem).suffix if name.suffix == ".gz" else name.suffix


def read_divided(
    file: Path,
    *,
    delimiter: str | None = None,
    caption_column: str | None = None,
    notes: list[str] | None = None,
) -> Iterator[tuple[int, Row]]:
    """The rows, each after the number of its last line; those of .tsv without quotation marks.

    Without `delimiter` the header shows it. Raises DataError, with the line.
    """
    lines = read_text(file).split("\n")
    own = "\t" if kind_of(file) == ".tsv" else ","
    start = next((place for place, line in enumerate(lines) if line.strip()), 0)
    if told := re.fullmatch(r'"?sep=(.)"?', lines[start].strip(), re.IGNORECASE):
        start, delimiter = start + 1, delimiter or told[1]  # as Excel writes it
    sign = delimiter or _delimiter_of(lines[start] if start < len(lines) else "", own)
    noted = []
    if sign not in (delimiter, own):
        noted.append(f"{file}: cells are divided by {DELIMITERS[sign]}")
    odd = _Odd()
    rows: Iterator[tuple[int, Cells]]
    if own == "\t":
        below = enumerate(lines[start:], start + 1)
        rows = ((number, line.split(sign)) for number, line in below if line.strip())
    else:
        rows = _read_quoted(file, lines, start, sign, odd)
    yield from _named(file, rows, sign, caption_column, odd)
    if odd.count:
        more = f"; and {odd.count - 1:,} more such lines" if odd.count > 1 else ""
        noted.append(odd.first + more)
    if notes is not None:
        notes += noted


def _delimiter_of(header: str, own: str) -> str:
    """The delimiter that makes the most of the header: columns that we know, then columns."""
    known = {*IMAGE_COLUMNS, *CAPTION_COLUMNS, "split"}

    def worth(delimiter: str) -> tuple[int, int, bool]:
        names = [name.strip(' "').lower() for name in header.split(delimiter)]
        return len(known.intersection(names)), len(names), delimiter == own

    best = max(DELIMITERS, key=worth)
    return best if best in header else own


def _read_quoted(
    file: Path, lines: Sequence[str], start: int, delimiter: str, odd: _Odd
) -> Iterator[tuple[int, Cells]]:
    """CSV, but for lines whose quotation marks enclose no cell: these are divided as they stand."""
    while start < len(lines):
        for last, cells in _read_csv(lines, start, delimiter):
            start = last
            if any(map(str.strip, cells)):
                yield last, cells
        if start < len(lines):
            line = lines[start]
            start += 1
            if len(line) > LONGEST_LINE:
                problem = f"a line of {len(line):,} characters; a caption is a sentence"
                raise DataError(f"{file}:{start}: {problem}")
            text = shortened(line.strip(), 80)
            odd.add(f"{file}:{start}: not quoted as CSV, so read as it stands: {text}")
            yield start, line.split(delimiter)


def _read_csv(lines: Sequence[str], start: int, delimiter: str) -> Iterator[tuple[int, Cells]]:
    """Rows up to the first line that is not CSV, each after the number of its last line."""
    following = (f"{lines[place]}\n" for place in range(start, len(lines)))
    reader = csv.reader(following, delimiter=delimiter, strict=True, skipinitialspace=True)
    last = 0
    try:
        for cells in reader:
            if reader.line_num > last + 1 and _holds_rows(cells, delimiter):
                return
            last = reader.line_num
            yield start + last, cells
    except csv.Error:
        return


def _holds_rows(cells: Cells, delimiter: str) -> bool:
    """Whether a cell of several lines has other rows in it, as after a stray quotation mark."""
    return any(
        part.strip().lower().endswith(SUFFIXES)
        for cell in cells
        for line in cell.split("\n")[1:]
        if delimiter in line
        for part in line.split(delimiter)
    )


def _named(
    file: Path,
    rows: Iterator[tuple[int, Cells]],
    delimiter: str,
    caption_column: str | None,
    odd: _Odd,
) -> Iterator[tuple[int, Row]]:
    """Cells by the names in the first row."""
    number, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f"{file}:{number}: two columns {shown(twice[0])}; rename one")
    caption = _caption_place(names, caption_column)
    before: Cells = []
    for number, given in rows:
        cells = given
        if len(cells) != len(names):
            cells = _fitted(given, len(names), caption, before, delimiter)
            count = f"{len(given)} cell{'s' * (len(given) != 1)}, but {len(names)} in the header"
            if len(cells) != len(names):
                there = f"{shortened(', '.join(names), 80)}; divided by "
                there += DELIMITERS.get(delimiter, shown(delimiter))
                raise DataError(f"{file}:{number}: {count} ({there}); mend the line")
            if "".join(cells) != "".join(given):
                text = shortened(" | ".join(cells), 80)
                odd.add(f"{file}:{number}: {count}; read as: {text}")
        before = cells
        yield number, dict(zip(names, (from_cell(cell.strip()) for cell in cells), strict=True))


def _caption_place(names: Sequence[str], column: str | None) -> int | None:
    """The place of the column that holds sentences, if there is one."""
    known = (column,) if column else CAPTION_COLUMNS
    found = [place for place, name in enumerate(names) if name in known or name.lower() in known]
    return found[0] if len(found) == 1 else None


def _fitted(cells: Cells, count: int, caption: int | None, before: Cells, delimiter: str) -> Cells:
    """So many cells, if one reading makes sense; else as they are.

    A spreadsheet's empty columns go; the caption takes surplus delimiters; and a number that stands
    before the caption without a delimiter, in a column of numbers, is a cell.
    """
    while len(cells) > count and not cells[-1].strip():
        cells = cells[:-1]
    if caption is None or len(cells) == count:
        return cells
    if len(cells) > count:
        end = len(cells) - (count - 1 - caption)
        text = f"{delimiter} ".join(map(str.strip, cells[caption:end]))
        return [*cells[:caption], text, *cells[end:]]
    if not (caption and before and len(cells) == count - 1):
        return cells
    merged = re.fullmatch(r"\s*(\d+)\s+(\S.*)", cells[caption - 1])
    if not (merged and before[caption - 1].strip().isdecimal()):
        return cells
    return [*cells[: caption - 1], *merged.groups(), *cells[caption:]]
