import gzip

import pytest

from mrnn.data.text import read_text_captions
from mrnn.errors import DataError

FILES = {
    "t.txt": "A dog, running .\n\nTwo men's hats\n.\n",
    "t.tsv": "coco:1\tA dog, running .\n\nflickr:2\tTwo men's hats\nnothing\t.\n",
    "more.tsv": "a\tb\tA dog, running .\na\tb\tTwo men's hats\n",
    "header.tsv": "sentence\tid\nA dog, running .\t1\nTwo men's hats\t2\n",
    "t.csv": 'id,Caption\n1,"A dog, running ."\n2,Two men\'s hats\n',
    "other.csv": 'text,id\n"A dog, running .",1\nTwo men\'s hats,2\n',
}
CAPTIONS = [["a", "dog", "running"], ["two", "men", "'s", "hats"]]


def read(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return [caption.words for caption in read_text_captions(folder / name)]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_captions(tmp_path, name, end, mark):
    content = mark + FILES[name].encode().replace(b"\n", end)
    assert read(tmp_path, name, content) == CAPTIONS
    assert read(tmp_path, name.upper(), content) == CAPTIONS
    assert read(tmp_path, f"{name}.gz", gzip.compress(content)) == CAPTIONS


@pytest.mark.parametrize(
    ("name", "content", "photos"),
    [
        ("t.txt", "A dog\nA cat\n", ["", ""]),
        ("t.tsv", "coco:1\tA dog\ncoco:2\tA cat\n", ["coco:1", "coco:2"]),
        ("t.tsv", "1.jpg#0\tA dog\n1.jpg#1\tA cat\n", ["1.jpg", "1.jpg"]),
        ("t.csv", "Image,caption\n1.jpg,A dog\n2.jpg,A cat\n", ["1.jpg", "2.jpg"]),
        ("t.csv", "id,caption\n1,A dog\n2,A cat\n", ["", ""]),
    ],
)
def test_photos_are_told_apart_where_the_file_names_them(tmp_path, name, content, photos):
    (tmp_path / name).write_text(content)
    assert [caption.photo for caption in read_text_captions(tmp_path / name)] == photos


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", b"A dog\ncaf\xe9\n", r"t\.txt:2: not UTF-8; save the file as UTF-8$"),
        ("t.tsv", b"1\tA dog\n2\tcaf\xe9\n", r"t\.tsv:2: not UTF-8"),
        ("t.tsv", "1\tA dog\n\nA cat\n", r"t\.tsv:3: no tab before a caption; write ID, a tab and"),
        ("t.tsv", "id\tcaption\n1\tA dog\n2\n", r"t\.tsv:3: 1 cell, but 2 in the header "),
        ("t.csv", "a,b\n1,2\n", r"t\.csv:1: no captions; expected caption or the like, .*: a, b$"),
        ("t.txt", "", r"t\.txt: no caption is in it; give a file with a caption a line$"),
        ("t.txt", " \n.\n", r"t\.txt: no caption is in it; give a file with a caption a line$"),
        ("t.csv", "caption\n", r"t\.csv: no caption is in it"),
        ("t.json", "[]", r"t\.json: not a text of captions; its name must end in \.txt, \.tsv or"),
        ("t.gz", "A dog", r"t\.gz: not a text of captions; its name must end in \.txt, \.tsv or"),
        ("t.txt.gz", "A dog", r"t\.txt\.gz: not a whole \.gz file \(.*\); copy or pack it again$"),
        ("t.txt.gz", gzip.compress(b"A dog" * 99)[:-9], r"gz: not a whole \.gz file \(.*\); copy"),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message) as raised:
        read(tmp_path, name, content)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"t\.txt: cannot be read \(No such file or directory\)$"):
        list(read_text_captions(tmp_path / "t.txt"))
