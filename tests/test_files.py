import errno
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.errors import DataError
from mrnn.files import (
    check_writable,
    first_problem,
    naming,
    read_json,
    read_lines,
    read_text,
    try_lock,
    utf8,
    write_whole,
)

# Atomic writes


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


# Text and JSON


class Form(BaseModel):
    words: list[str]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file.txt"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_ends_of_lines_make_no_difference(file, mark, end):
    file.write_bytes(mark + end.join([b"one", b" ", "é\u2028".encode(), b""]))
    assert read_text(file) == "one\n \né\u2028\n"
    assert list(read_lines(file)) == [(1, "one"), (3, "é\u2028")]
    file.write_bytes(mark + b'{"words":' + end + b'["a"], "more": 0}' + end)
    assert read_json(file, Form).words == ["a"]


def test_a_line_that_is_not_utf8(file):
    file.write_bytes(b"\xef\xbb\xbfone\r\ncaf\xe9\r\n")
    with pytest.raises(DataError, match=r"file\.txt:2: not UTF-8; save the file as UTF-8"):
        read_text(file)


def test_a_file_that_cannot_be_read(file):
    with pytest.raises(DataError, match=r"file\.txt: cannot be read \(No such file"):
        read_text(file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"words":\n["a",\n}', r"file\.txt:3: Invalid JSON: [^:]* at column 1$"),
        ('{"words": ["line 7 column"', r"file\.txt:1: Invalid JSON: EOF"),
        ("", r"file\.txt:1: Invalid JSON: "),
        ('{"words": ["a", 3]}', r"file\.txt: words\.1: .*valid string, not 3$"),
        ('{"words": [null]}', r"file\.txt: words\.0: .*valid string, not None$"),
        ('{"words": "line 7 column"}', r"file\.txt: words: .*valid (list|array)"),
        ("{}", r"file\.txt: words: Field required"),
        ("[" * 100_000, r"file\.txt:1: Invalid JSON: recursion limit"),
    ],
)
def test_json_of_another_form(file, text, problem):
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_json(file, Form)


def test_a_problem_of_a_key_with_an_end_of_line_is_one_line():
    with pytest.raises(ValidationError) as error:
        Strict.model_validate({"a\u0085b\n": 1})
    assert first_problem(error.value) == r"a\x85b\n: Extra inputs are not permitted, not 1"


def test_a_long_key_is_cut():
    with pytest.raises(ValidationError) as error:
        Strict.model_validate({"k" * 999: "v" * 999})
    assert len(first_problem(error.value)) < 250


@pytest.mark.parametrize(
    ("name", "text"), [("é 🐕", "é 🐕"), ("caf\udce9.png", "caf\\udce9.png"), ("", "")]
)
def test_what_no_utf8_holds_is_escaped(name, text):
    assert utf8(name) == text


# Locks


def test_one_process_at_a_time_has_the_lock(tmp_path):
    pytest.importorskip("fcntl", reason="the system has no such locks")
    file = tmp_path / "lock"
    with file.open("w") as first:
        assert try_lock(first)
        with file.open("w") as second:
            assert not try_lock(second)
    with file.open("w") as third:
        assert try_lock(third)


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert try_lock(first)
        assert try_lock(second)
