"""Captions in a CSV file that grows, also after a spreadsheet has saved it in its own way."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mrnn.captioning.caption_files.rows import Row, RowError
from mrnn.captioning.results import ImageCaptions
from mrnn.data.csv_cells import as_cell, from_cell
from mrnn.data.photos.names import name_from_text

CSV_COLUMNS = (
    "image", "rank", "text", "log_probability", "tags", "familiarity", "confidence", "error",
)  # fmt: skip
NEEDED = {"image", "rank", "text", "error"}
"""Columns without which a file is another one; of the rest a user may have deleted some."""
SEPARATORS = ",;\t"
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_QUOTED = re.compile(r'[",;\t\r\n]')
"""What is in a cell that needs quotation marks, whatever a spreadsheet takes for the separator."""
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
NOT_CLOSED = "a quotation mark in it is not closed"


class Csv:
    """A row a caption, or one with the error: see `mrnn.captioning.caption_files.rows.Form`."""

    def __init__(self, n_best: int) -> None:
        self._n_best = n_best
        self._encoding, self._separator, self._end, self._decimal = "utf-8", ",", "\n", "."
        self._columns: Sequence[str] = CSV_COLUMNS
        self.start = self._encoded([dict(zip(CSV_COLUMNS, CSV_COLUMNS, strict=True))])

    def lines(self, result: ImageCaptions) -> bytes:
        """See `Form`."""
        image, tags = as_cell(result.image), as_cell("; ".join(map(str, result.tags)))
        rows: list[Mapping[str, object]] = [
            {
                "image": image, "rank": rank, "text": as_cell(caption.text),
                "log_probability": caption.log_probability, "tags": tags,
                "familiarity": result.familiarity,
                "confidence": result.confidence if rank == 1 else None,
            }
            for rank, caption in enumerate(result.captions, 1)
        ]  # fmt: skip
        return self._encoded(rows or [{"image": image, "error": as_cell(result.error or "")}])

    def read(self, content: bytes) -> list[Row]:
        """See `Form`. A last photo with less than `n_best` rows is taken for one that was cut."""
        if self.start.startswith(content):
            return []
        mark = next((mark for mark in _ENCODINGS if content.startswith(mark)), b"")
        encoding = _ENCODINGS.get(mark, "utf-8")
        text, cut = _decoded(content[len(mark) :], encoding)
        head = next(io.StringIO(text, newline=""), "")
        names = head.rstrip("\r\n")
        separators = (each for each in SEPARATORS if _are_ours(_cells(names, each)))
        if not (separator := next(separators, "")):
            raise RowError(1, "other columns")
        self._encoding, self._separator, self._columns = (
            encoding,
            separator,
            _cells(names, separator),
        )
        self._end = head[len(names) :] or "\n"
        self.start = mark + (names + self._end).encode(encoding)
        return self._without_cut_photo(list(self._rows(text[len(head) :], cut=cut)))

    def _rows(self, text: str, *, cut: bool) -> Iterator[Row]:
        for number, record, cells in _records(text, self._separator):
            if cells is None:
                if not self._is_cut(record):
                    raise RowError(number, NOT_CLOSED)
                return
            if not cells:
                continue
            is_last = not record.endswith(("\r", "\n"))
            if is_last and (
                cut or len(cells) < len(self._columns) or not self._cell_of(cells, "rank")
            ):
                return
            if not record.endswith((self._end, "\n")):
                record = record.rstrip("\r") + self._end
            rank = self._rank(number, cells)
            photo = name_from_text(from_cell(self._cell_of(cells, "image")))
            yield Row(photo, number, rank, 1, record.encode(self._encoding))

    def _rank(self, number: int, cells: list[str]) -> int:
        """0 for a row with an error. Raises RowError."""
        if len(cells) != len(self._columns):
            raise RowError(number, f"{len(cells)} cells, but {len(self._columns)} in the header")
        pairs = zip(self._columns, cells, strict=True)
        if any(name != "image" and re.search(r"[\r\n]", cell) for name, cell in pairs):
            raise RowError(number, NOT_CLOSED)
        if self._cell_of(cells, "error"):
            return 0
        rank, likelihood = (self._cell_of(cells, name) for name in ("rank", "log_probability"))
        if not (re.fullmatch(r"[1-9]\d{0,8}", rank) and _NUMBER.fullmatch(likelihood or "0")):
            raise RowError(number, "expected a rank and a log-probability, or an error")
        if "," in likelihood:
            self._decimal = ","
        return int(rank)

    def _cell_of(self, cells: Sequence[str], column: str) -> str:
        """Empty where the file has no such column."""
        return cells[self._columns.index(column)] if column in self._columns else ""

    def _is_cut(self, record: str) -> bool:
        """Whether a last record with an open quotation mark is the beginning of one of ours.

        Only a name may have ends of lines in it.
        """
        cells = _cells(f'{record}"', self._separator)
        if self._columns[min(len(cells), len(self._columns)) - 1] != "image":
            return not re.search(r"[\r\n]", cells[-1])
        inside = io.StringIO(record, newline="").readlines()[1:]
        return not any(len(_cells(line, self._separator)) == len(self._columns) for line in inside)

    def _without_cut_photo(self, rows: list[Row]) -> list[Row]:
        """The rows but for those of the last photo, where some of its rows may be lacking."""
        last = rows[-1].photo if rows else ""
        whole = sum(row.photo == last for row in rows) >= self._n_best
        return rows if whole else [row for row in rows if row.photo != last]

    def _encoded(self, rows: Iterable[Mapping[str, object]]) -> bytes:
        lines = []
        for row in rows:
            cells = (self._cell(row.get(column)) for column in self._columns)
            lines.append(self._separator.join(cells) + self._end)
        return "".join(lines).encode(self._encoding)

    def _cell(self, value: object) -> str:
        text = "" if value is None else str(value)
        is_number = isinstance(value, float)
        if is_number:
            text = text.replace(".", self._decimal)
        if self._separator in text or (_QUOTED.search(text) and not is_number):
            text = '"{}"'.format(text.replace('"', '""'))
        return text


def _decoded(content: bytes, encoding: str) -> tuple[str, bool]:
    """The text, and whether its last character was cut. Raises RowError."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        text = decoder.decode(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RowError(line, "not UTF-8; save the file as UTF-8") from None
    return text, bool(decoder.getstate()[0])


def _records(text: str, separator: str) -> Iterator[tuple[int, str, list[str] | None]]:
    """First line, text and cells of each record below the header.

    The last has no cells if a quotation mark in it is not closed. Raises RowError.
    """
    taken: list[str] = []
    at_end = False

    def lines() -> Iterator[str]:
        nonlocal at_end
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line
        at_end = True

    reader, number = csv.reader(lines(), delimiter=separator, strict=True), 2
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if not at_end:
                raise RowError(number, f"not CSV ({error})") from None
            cells = None
        yield number, "".join(taken), cells
        number = reader.line_num + 2
        taken.clear()


def _are_ours(columns: Sequence[str]) -> bool:
    return NEEDED <= {*columns} <= {*CSV_COLUMNS} and len({*columns}) == len(columns)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(line, newline=""), delimiter=separator), [])
    except csv.Error:
        return []
