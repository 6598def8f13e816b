import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrnn.data.shards import parquet
from mrnn.data.shards.parquet import read_parquet
from mrnn.errors import DataError
from tests.data.shards.photos import photo


def read(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    stream.seek(0)
    return list(read_parquet(stream, "x.parquet"))


def test_columns_of_bytes():
    found = read(key=["a", "b"], jpg=[photo(0), photo(1)], other=[b"1", b"2"])
    assert [(each.key, each.content) for each in found] == [("a", photo(0)), ("b", photo(1))]


def test_one_column_of_bytes_may_have_any_name():
    found = read(picture=pa.array([photo(0), photo(1)], pa.large_binary()), label=["x", "y"])
    assert [each.key for each in found] == ["000000000", "000000001"]
    assert [each.content for each in found] == [photo(0), photo(1)]


def test_images_as_hugging_face_keeps_them():
    images = [{"bytes": photo(n), "path": f"{n}.png"} for n in range(3)]
    found = read(image=images)
    assert [(each.key, each.suffix) for each in found] == [(f"{n}.png", ".png") for n in range(3)]
    numbered = read(image=images, id=[7, 8, 9])
    assert [each.key for each in numbered] == ["7", "8", "9"]


def test_rows_without_bytes(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 500)
    images = [{"bytes": None, "path": "a.jpg"}, {"bytes": b"x" * 501, "path": "b.jpg"}, None]
    found = read(image=pa.array(images))
    assert [each.error for each in found] == [
        "no bytes in its row; write the photo into the Parquet file",
        "larger than 500 bytes; make a smaller copy",
        "no bytes in its row; write the photo into the Parquet file",
    ]


def test_many_rows_in_their_order():
    found = read(image=[b"%d" % n for n in range(200)])
    assert [each.content for each in found] == [b"%d" % n for n in range(200)]


@pytest.mark.parametrize("columns", [{"text": ["a"], "n": [1]}, {"a": [b"1"], "b": [b"2"]}])
def test_no_column_of_photos(columns):
    has = ", ".join(f"{name} (" for name in columns).partition(" (")[0]
    with pytest.raises(DataError, match=rf"x\.parquet: no column of photos, .* it has {has} \("):
        read(**columns)


@pytest.mark.parametrize("content", [b"", b"PAR1" * 20, b"no"])
def test_no_parquet(content):
    with pytest.raises(DataError, match=r"x\.parquet: no whole Parquet file \(.*\); copy it again"):
        list(read_parquet(io.BytesIO(content), "x.parquet"))


def test_a_stream_that_cannot_go_back():
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": [photo()]}), stream)

    class Forwards(io.BytesIO):
        def seekable(self):
            return False

    (found,) = read_parquet(Forwards(stream.getvalue()), "x")
    assert found.content == photo()
