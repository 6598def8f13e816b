import pytest

from mrnn.data.readers.columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    captions_in,
    cell_at,
    column_of,
    image_id,
    shown,
)
from mrnn.errors import DataError


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["image", "image_id", "file_name"], "image"),
        (["split", " File_Name "], " File_Name "),
        (["filename", "img_id"], "filename"),
        (["filepath", "filename"], "filename"),
        (["filepath", "title"], "filepath"),
    ],
)
def test_the_column_that_is_meant(names, column):
    assert column_of(dict.fromkeys(names), IMAGE_COLUMNS, "photos", where="t") == column


def test_no_column_or_several():
    with pytest.raises(
        DataError, match=r"^t:2: no photos; expected image or the like, .*: a, b; x"
    ):
        column_of({"a": 1, "b": 2}, IMAGE_COLUMNS, "photos", where="t:2", mend="; x")
    with pytest.raises(DataError, match=r"^t: both text and comment may hold the caption; keep"):
        column_of({"text": 1, "comment": 2}, CAPTION_COLUMNS, "caption", where="t")
    with pytest.raises(DataError) as raised:
        column_of(dict.fromkeys(f"{n}" * 99 for n in range(9)), IMAGE_COLUMNS, "photos", where="t")
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ("A dog", ["A dog"]),
        ("", [""]),
        (["A dog", "B"], ["A dog", "B"]),
        ([], []),
        ([{"caption": "A"}, {"raw": "B", "tokens": ["b"]}, {"text": "C"}], ["A", "B", "C"]),
        ({"caption": "A", "id": 3}, ["A"]),
        ('["A dog", "B"]', ["A dog", "B"]),
        ('["A dog", 3]', ['["A dog", 3]']),
        ('["A dog" says "B"]', ['["A dog" says "B"]']),
        ('["' + "[" * 100_000 + '"]', ["[" * 100_000]),
    ],
    ids=str,
)
def test_captions_in_a_cell(cell, captions):
    assert captions_in(cell, "t:3") == captions


@pytest.mark.parametrize(
    ("cell", "told"),
    [(None, "null"), (3, "3"), ([3], "3"), ({}, "an object of 0"), ([[]], "a list of 0")],
)
def test_no_caption_in_a_cell(cell, told):
    with pytest.raises(DataError, match=f"^t:3: expected a caption, not {told}$"):
        captions_in(cell, "t:3")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (391895, "391895"),
        (391895.0, "391895"),
        ("391895.0", "391895"),
        ("391895.00", "391895"),
        (" 7 ", "7"),
        ("a.jpg", "a.jpg"),
        ("7.5", "7.5"),
        ("7.", "7."),
        ("0.0.0", "0.0.0"),
        (-1, "-1"),
    ],
)
def test_ids(value, name):
    assert image_id(value) == name


@pytest.mark.parametrize("value", [1.5, float("inf"), float("nan"), True, None, "", " ", [], {}])
def test_what_is_no_id(value):
    with pytest.raises(ValueError, match=r"^expected a whole number or a name, not "):
        image_id(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", '"é"'),
        (None, "null"),
        (False, "false"),
        (1.5, "1.5"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "an object of 1"),
        (b"x", "bytes"),
    ],
)
def test_values_in_messages(value, text):
    assert shown(value) == text


def test_long_values_are_short_in_messages():
    assert len(shown("x" * 3_000_000)) <= 60
    assert len(shown(10**4000)) <= 60


def test_places_of_cells():
    assert cell_at("t.csv:3", "caption") == "t.csv:3: caption"
    assert cell_at("t.json: [3]", "caption") == "t.json: [3].caption"
