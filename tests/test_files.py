import gzip
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mrnn.errors import DataError
from mrnn.files import (
    decode_text,
    first_problem,
    parse_json,
    parse_toml,
    read_form,
    read_json,
    read_lines,
    read_plain,
    read_text,
    read_toml,
)

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
        ('{"words":\n["a",\n}', r"file\.txt:3: not JSON \([^:]* at column 1\)$"),
        ('{"words": ["line 7 column"', r"file\.txt:1: not JSON \(EOF"),
        ("", r"file\.txt:1: not JSON \("),
        ('{"words": ["a", 3]}', r"file\.txt: words\[1\]: expected text, not 3$"),
        ('{"words": [null]}', r"file\.txt: words\[0\]: expected text, not None$"),
        ('{"words": "line 7 column"}', r"file\.txt: words: expected a list, not 'line 7 column'$"),
        ("{}", r"file\.txt: words is missing$"),
        ("[3]", r"file\.txt: expected an object, not \[3\]$"),
        ("[" * 100_000, r"file\.txt:1: not JSON \(recursion limit"),
    ],
)
def test_json_of_another_form(file, text, problem):
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_json(file, Form)


def test_a_problem_of_a_key_with_an_end_of_line_is_one_line():
    with pytest.raises(ValidationError) as error:
        Strict.model_validate({"a\u0085b\n": 1})
    assert first_problem(error.value) == r"a\x85b\n is unknown"


def test_a_long_key_is_cut():
    with pytest.raises(ValidationError) as error:
        Strict.model_validate({"k" * 999: "v" * 999})
    assert len(first_problem(error.value)) < 250


class Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    number: int | str = 0
    rate: float = Field(default=0, gt=0, le=1, allow_inf_nan=False)
    kind: Literal["crop", "pad"] = "crop"
    names: tuple[str, ...] = ()
    on: bool = True
    counts: dict[str, int] = {}
    word: str = Field(default="a", pattern="^[a-z]+$", max_length=3)

    @field_validator("names")
    @classmethod
    def _check(cls, names):
        if "x" in names:
            raise ValueError("names must not hold x")
        return names


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"number": []}, "number: expected a whole number or text, not []"),
        ({"rate": 2.0}, "rate: expected less than or equal to 1, not 2.0"),
        ({"rate": float("nan")}, "rate: expected a finite number, not nan"),
        ({"rate": "\x1b[1m"}, r"rate: expected a number, not '\x1b[1m'"),
        ({"kind": "round"}, "kind: expected 'crop' or 'pad', not 'round'"),
        ({"names": 3}, "names: expected a list, not 3"),
        ({"names": ("x",)}, "names: names must not hold x"),
        ({"on": 1}, "on: expected true or false, not 1"),
        ({"counts": []}, "counts: expected an object, not []"),
        ({"counts": {"a": 1.5}}, "counts.a: expected a whole number, not 1.5"),
        ({"word": "A"}, "word: expected text of the form ^[a-z]+$, not 'A'"),
        ({"word": "aaaa"}, "word: expected at most 3 characters, not 'aaaa'"),
    ],
)
def test_problems_are_told_in_plain_words(values, told):
    with pytest.raises(ValidationError) as error:
        Plain.model_validate(values)
    assert first_problem(error.value) == told


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig", "utf-8"])
def test_text_as_spreadsheets_save_it(file, coding):
    file.write_bytes("é;1\r\n".encode(coding))
    assert read_text(file) == "é;1\n"


def test_half_of_a_utf16_letter(file):
    file.write_bytes("one\nab".encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"file\.txt:2: not UTF-8"):
        read_text(file)


def test_text_that_is_packed(tmp_path):
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress(b"one\r\ntwo"))
    assert read_text(file) == "one\ntwo"
    file.write_bytes(gzip.compress(b"one")[:-9])
    with pytest.raises(DataError, match=r"a\.txt\.gz: not a whole \.gz file"):
        read_text(file)


def test_text_without_an_end(monkeypatch, tmp_path):
    monkeypatch.setattr("mrnn.files.LARGEST", 2**20)
    with pytest.raises(DataError, match="/dev/zero: larger than"):
        read_text(Path("/dev/zero"))
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(bytes(2**20 + 1)))
    with pytest.raises(DataError, match=r"bomb\.gz: larger than"):
        read_text(file)


def test_a_folder_and_a_name_that_is_none(tmp_path):
    with pytest.raises(DataError, match="a folder, not a file"):
        read_text(tmp_path)
    with pytest.raises(DataError, match=r"a\\x00b: cannot be read"):
        read_text(Path("a\0b"))


def test_json_and_toml_of_any_form(file):
    assert parse_json(b'\xef\xbb\xbf{"a": [1, null]}', "x") == {"a": [1, None]}
    file.write_text("[a]\nb = 1\n")
    assert read_toml(file) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a":\n1,}', "x:2: not JSON \\("),
        ("[" * 100_000, "x: .* nested too deeply"),
        ("1" * 5_000, "x: .*digits"),
        ('{"a": NaN}', "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        (b"\n\xff", "x:2: not UTF-8"),
    ],
)
def test_json_that_is_refused(text, told):
    with pytest.raises(DataError, match=told):
        parse_json(text, "x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = ", r"x: not TOML \("),
        ("a = " + "[" * 100_000, "x: nested too deeply"),
        ("a = " + "1" * 5_000, r"x: not TOML \(.*digits"),
    ],
)
def test_toml_that_is_refused(text, told):
    with pytest.raises(DataError, match=told):
        parse_toml(text, "x")


def test_a_byte_that_is_not_utf8_in_text_at_hand():
    with pytest.raises(DataError, match="the list:1: not UTF-8"):
        decode_text(b"\xff", "the list")


# Files of our own


class Own(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    size: int = Field(ge=1)


def own(file, content):
    file.write_text(content)
    return read_form(file, Own, 2, "copy it again", "make it again")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            '{"format": 3, "more": 1}',
            "format 3; this version of mrnn reads 2; upgrade mrnn",
        ),
        ('{"format": -2}', "format -2; this"),
        ('{"format": true}', "format True; this"),
        ('{"format": 2.0}', "format 2.0; this"),
        ("[2]", "format None; this"),
        (
            '{"format": 2, "size": 0}',
            "size: expected greater than or equal to 1, not 0; copy",
        ),
        ('{"format": 2, "size": 1.0}', "size: expected a whole number, not 1.0; copy it again"),
        ('{"format": 2, "size": true}', "size: expected a whole number, not True; copy it again"),
        ('{"format": 2, "size": 3, "size": 4}', "the key 'size' is there twice"),
        ('{"format": 2, "size": NaN}', "NaN is no number"),
        ('{"format": 2, "size": 1' + "0" * 5000 + "}", "not JSON that is used here"),
        ("[" * 100_000, "nested too deeply; copy it again"),
        ("", "not JSON"),
    ],
)
def test_what_is_not_of_our_form_is_refused(file, content, problem):
    with pytest.raises(DataError) as raised:
        own(file, content)
    assert str(raised.value).startswith(f"{file}:")
    assert problem in str(raised.value)


def test_the_format_is_checked_first_and_the_rest_strictly(file):
    assert own(file, '{"size": 5, "format": 2}') == Own(format=2, size=5)


def test_files_of_our_own_are_plain_files_of_some_size(file, tmp_path):
    file.write_bytes(b"12345")
    assert read_plain(file, 5) == b"12345"
    with pytest.raises(
        DataError, match=r"file\.txt: larger than 0 MB, which no file of this kind is$"
    ):
        read_plain(file, 4)
    with pytest.raises(DataError, match=r": a folder, not a file$"):
        read_plain(tmp_path)
    with pytest.raises(DataError, match=r"^/dev/null: a device or a pipe, not a file$"):
        read_plain(Path("/dev/null"))
    with pytest.raises(DataError, match=r"none: is missing$"):
        read_plain(tmp_path / "none")
    (tmp_path / "loop").symlink_to("loop")
    for odd in (tmp_path / "loop", tmp_path / "a\0b"):
        with pytest.raises(DataError, match=r": cannot be read \("):
            read_plain(odd)


def test_a_toml_file_is_a_small_plain_file(file):
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(DataError, match="larger than 1 MB"):
        read_toml(file)
