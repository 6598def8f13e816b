import json

import pytest

from mrnn.data.shards.lists import read_list, read_metadata, read_photos
from mrnn.errors import DataError
from tests.data.shards.photos import photo


def test_lists_are_relative_to_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.png").write_bytes(photo(1))
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "x.txt").write_bytes("\ufeffb.png\r\n\nnone.JPG\n".encode())
    entries = read_list("lists/x.txt")
    assert entries == [("b.png", "b.png"), ("none.JPG", "none.JPG")]
    found, missing = read_photos(entries)
    assert (found.key, found.content, found.suffix) == ("b.png", photo(1), ".png")
    assert (missing.key, missing.error) == ("none.JPG", "no such file")


def test_metadata_is_relative_to_its_folder(tmp_path):
    rows = [{"file_name": "sub/a.png", "text": "x"}, {"file_name": "http://h/b.jpg"}]
    file = tmp_path / "metadata.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    assert read_metadata(str(file)) == [
        ("sub/a.png", f"{tmp_path}/sub/a.png"), ("http://h/b.jpg", "http://h/b.jpg"),
    ]  # fmt: skip


@pytest.mark.parametrize("row", ["[]", "{}", '{"file_name": 3}', '{"file_name": ""}'])
def test_metadata_without_a_name(tmp_path, row):
    file = tmp_path / "metadata.jsonl"
    file.write_text('{"file_name": "a.jpg"}\n' + row)
    with pytest.raises(DataError, match=r'metadata\.jsonl:2: no "file_name", which names a photo'):
        read_metadata(str(file))


def test_metadata_that_is_no_json(tmp_path):
    file = tmp_path / "metadata.jsonl"
    file.write_text("{")
    with pytest.raises(DataError, match=r"metadata\.jsonl:1"):
        read_metadata(str(file))


def test_a_list_that_is_no_utf8(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(DataError, match=r"x\.txt:2: not UTF-8; save it as UTF-8"):
        read_list(str(tmp_path / "x.txt"))
