"""The rows of a table: one reader for every kind of file that holds them.

.csv .tsv .txt   a header, then a row a line; cells divided by a comma, semicolon, tab or bar
.jsonl           a JSON object a line
.json            a list of such objects
.parquet         as Hugging Face's datasets come; needs pyarrow

Quotation marks enclose cells, but not in .tsv. Any but .parquet may be packed, as t.csv.gz.
Where a row is not as its header says, `cells.py` tells what is made of it.
"""

from collections.abc import Iterator
from pathlib import Path

from mrnn.data.readers.cells import kind_of, read_divided
from mrnn.data.readers.columns import Row, shown
from mrnn.errors import DataError, MissingExtraError
from mrnn.files import parse_json, read_json_lines, read_text

PlacedRow = tuple[str, Row]
"""A row after its place in the file: ":3" is line 3, ": [3]" the fourth of a list."""

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet")
ROWS_AT_ONCE = 64
"""Rows of a .parquet in memory: they may hold whole photos."""


def read_rows(
    file: Path,
    *,
    delimiter: str | None = None,
    caption_column: str | None = None,
    notes: list[str] | None = None,
) -> Iterator[PlacedRow]:
    """The rows of a table. Raises DataError, with the line.

    Without `delimiter` the header shows it. What is read in another way than it is written goes
    into `notes`: `caption_column` takes delimiters that nothing quotes.
    """
    match kind_of(file):
        case ".csv" | ".tsv" | ".txt":
            divided = read_divided(
                file, delimiter=delimiter, caption_column=caption_column, notes=notes
            )
            return ((f":{number}", row) for number, row in divided)
        case ".jsonl":
            return _read_objects(file)
        case ".json":
            return rows_of_list(file, parse_json(read_text(file), file))
        case ".parquet":
            return _read_parquet(file)
    expected = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
    raise DataError(f"{file}: not a table; its name must end in {expected}")


def _read_objects(file: Path) -> Iterator[PlacedRow]:
    for number, row in read_json_lines(file):
        yield f":{number}", _object(row, f"{file}:{number}")


def rows_of_list(file: Path, content: object, name: str = "") -> Iterator[PlacedRow]:
    """The objects of a list in a JSON file; `name` is the list's."""
    if not isinstance(content, list):
        raise DataError(f"{file}: expected a list of objects, not {shown(content)}")
    for place, row in enumerate(content):
        yield f": {name}[{place}]", _object(row, f"{file}: {name}[{place}]")


def _object(row: object, where: str) -> Row:
    if not isinstance(row, dict):
        example = 'as {"image": "a.jpg", "caption": "A dog"}'
        raise DataError(f"{where}: expected an object, {example}, not {shown(row)}")
    return row


def _read_parquet(file: Path) -> Iterator[PlacedRow]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        problem = "reading .parquet needs pyarrow. Run: pip install 'mrnn[scale]'"
        raise MissingExtraError(f"{file}: {problem}") from None
    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    number += 1
                    yield f":{number}", row
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        problem = f"not a whole Parquet file ({reason:.100})"
        raise DataError(f"{file}: {problem}; copy it again") from None
