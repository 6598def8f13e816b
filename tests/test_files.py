import errno
from pathlib import Path

import pytest

from mrnn.files import check_writable, naming, write_whole


@pytest.mark.parametrize("content", ["an émigré\n", b"\x00\xff"])
def test_a_file_is_written_and_replaced(tmp_path, content):
    file = tmp_path / "a b.txt"
    for _ in range(2):
        write_whole(file, content)
        assert file.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "figures.json"
    file.write_text("old")

    def half(self, content):
        with self.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")  # as Python does, without a name

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(file, "new and longer")
    assert caught.value.filename == str(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "no" / "file", b"")
    assert caught.value.filename == str(tmp_path / "no" / "file")


def test_a_folder_that_takes_no_file_is_known_before(tmp_path):
    file = tmp_path / "page.html"
    file.write_text("old")
    check_writable(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(NotADirectoryError) as caught:  # as in a read-only folder
        check_writable(file / "below")
    assert caught.value.filename == str(file / "below")


def test_a_write_that_fails_tells_the_file(tmp_path, limited):
    file = tmp_path / "log.txt"
    with (
        pytest.raises(OSError, match=r"File too large: '.*log\.txt'") as caught,
        naming(file), limited(100),
    ):  # fmt: skip
        file.write_bytes(bytes(200))
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(FileNotFoundError) as caught, naming(file):
        (tmp_path / "other").read_bytes()
    assert caught.value.filename == str(tmp_path / "other")
    with pytest.raises(OSError, match="3 requested and 2 written") as caught, naming(file):
        raise OSError("3 requested and 2 written")  # as numpy does
    assert caught.value.filename == str(file)
