import hashlib

import pytest

from mrnn.data.readers.embedded import Unpacker, is_embedded
from mrnn.errors import DataError

JPEG, PNG = b"\xff\xd8\xff photo", b"\x89PNG photo"


def own(content, suffix):
    return hashlib.sha256(content).hexdigest()[:16] + suffix


@pytest.mark.parametrize(
    ("cell", "row", "name"),
    [
        ({"bytes": JPEG, "path": "a.jpg"}, {}, "a.jpg"),
        ({"bytes": JPEG, "path": "sub\\a.jpg"}, {}, "sub/a.jpg"),
        ({"bytes": JPEG, "path": None}, {"filename": "b.jpg"}, "b.jpg"),
        ({"bytes": JPEG}, {"image_id": 42}, "42.jpg"),
        ({"bytes": PNG, "path": ""}, {"image_id": None}, own(PNG, ".png")),
        (JPEG, {}, own(JPEG, ".jpg")),
        (b"?", {}, own(b"?", ".jpg")),
        ({"bytes": JPEG, "path": "../../a.jpg"}, {}, "a.jpg"),
        ({"bytes": JPEG, "path": "/etc/a.jpg"}, {}, "a.jpg"),
        ({"bytes": JPEG, "path": "C:\\x\\a.jpg"}, {}, "a.jpg"),
        ({"bytes": JPEG, "path": ".."}, {}, own(JPEG, ".jpg")),
        ({"bytes": JPEG, "path": "a/.."}, {}, own(JPEG, ".jpg")),
        ({"bytes": JPEG, "path": "a\0b.jpg"}, {}, own(JPEG, ".jpg")),
        ({"bytes": JPEG, "path": "a" * 300}, {}, own(JPEG, ".jpg")),
        ({"bytes": JPEG, "path": "\ud800.jpg"}, {}, own(JPEG, ".jpg")),
    ],
)
def test_a_photo_is_written_into_the_folder(tmp_path, cell, row, name):
    assert is_embedded(cell)
    unpacker = Unpacker(tmp_path / "photos")
    for _ in range(2):
        assert unpacker.name_of(cell, row, "t:1") == name
    assert unpacker.written == 1
    content = cell if isinstance(cell, bytes) else cell["bytes"]
    assert (tmp_path / "photos" / name).read_bytes() == content
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / "photos" / name]


def test_no_other_photo_is_replaced(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"mine")
    (tmp_path / "b.jpg").mkdir()
    unpacker = Unpacker(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        assert unpacker.name_of({"bytes": JPEG, "path": name}, {}, "t:1") == own(JPEG, ".jpg")
    assert (tmp_path / "a.jpg").read_bytes() == b"mine"


def test_a_path_without_bytes_is_a_name(tmp_path):
    unpacker = Unpacker(tmp_path / "photos")
    assert unpacker.name_of({"bytes": None, "path": " a.jpg "}, {}, "t:1") == "a.jpg"
    assert not (tmp_path / "photos").exists()


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ({"bytes": None, "path": None}, "t:1: holds no photo, neither bytes nor a path"),
        ({"bytes": b"", "path": " "}, "t:1: holds no photo, neither bytes nor a path"),
        ({"bytes": "text", "path": "a.jpg"}, "t:1: expected the bytes of a photo, not str"),
    ],
)
def test_a_cell_without_a_photo(tmp_path, cell, problem):
    with pytest.raises(DataError, match=problem):
        Unpacker(tmp_path).name_of(cell, {}, "t:1")


def test_a_folder_that_takes_no_photo(tmp_path):
    (tmp_path / "photos").touch()
    with pytest.raises(DataError, match=r"t:1: the photo a\.jpg cannot be written to .*photos \("):
        Unpacker(tmp_path / "photos").name_of({"bytes": JPEG, "path": "a.jpg"}, {}, "t:1")
