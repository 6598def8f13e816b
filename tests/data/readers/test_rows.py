import json
import sys

import pytest

from mrnn.data.readers.rows import KINDS, read_rows
from mrnn.errors import DataError, MissingExtraError

ROWS = [{"image": "a.jpg", "caption": "A dog"}, {"image": "b.jpg", "caption": "A cat"}]


def write_table(file, rows=ROWS):
    """The rows in the form that the file's name says."""
    match file.suffix:
        case ".parquet":
            pa = pytest.importorskip("pyarrow")
            from pyarrow.parquet import write_table

            write_table(pa.Table.from_pylist(rows), file)
        case ".json":
            file.write_text(json.dumps(rows))
        case ".jsonl":
            file.write_text("\n".join(map(json.dumps, rows)))
        case suffix:
            sign = "\t" if suffix == ".tsv" else ","
            lines = [sign.join(rows[0]), *(sign.join(row.values()) for row in rows)]
            file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_of_file(tmp_path, kind):
    file = write_table(tmp_path / f"t{kind}")
    found = list(read_rows(file))
    assert [row for _, row in found] == ROWS
    places = {".json": [": [0]", ": [1]"], ".jsonl": [":1", ":2"], ".parquet": [":1", ":2"]}
    assert [place for place, _ in found] == places.get(kind, [":2", ":3"])


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("t.json", "{}", r"t\.json: expected a list of objects, not an object of 0"),
        ("t.json", "[3]", r"""t\.json: \[0\]: expected an object, as {"image": .*}, not 3"""),
        ("t.json", "[\n{]", r"t\.json:2: not JSON"),
        ("t.jsonl", "{}\n[]", r"t\.jsonl:2: expected an object, as .*, not a list of 0"),
        ("t.jsonl", "{}\n{", r"t\.jsonl:2: not JSON"),
        ("t.jsonl", "[" * 100_000, r"t\.jsonl:1: not JSON that is used here: nested too deeply"),
        ("t.parquet", "PAR1", r"t\.parquet: not a whole Parquet file \(.*\); copy it again"),
        ("t.parquet", "", r"t\.parquet: not a whole Parquet file \(.*\); copy it again"),
        ("t.xls", "", r"t\.xls: not a table; its name must end in .*\.json or \.parquet"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_refused(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=problem):
        list(read_rows(tmp_path / name))


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").touch()
    with pytest.raises(MissingExtraError, match=r"needs pyarrow\. Run: pip install 'mrnn"):
        list(read_rows(tmp_path / "t.parquet"))
