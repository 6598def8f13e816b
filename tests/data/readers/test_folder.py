import time

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.folder import read_folder
from mrnn.errors import DataError, ImageError


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "sub/a.png", "bare.jpg", ".hidden.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfA dog .\r\n\r\n two dogs \r\n")
    (tmp_path / "sub/a.txt").write_text("Ein Mädchen", encoding="utf-8")
    (tmp_path / "README.txt").write_text("About these photos.")
    return tmp_path


def read(photos):
    return list(read_folder(photos, photos))


def test_photos_with_the_lines_of_their_texts(photos):
    assert read(photos) == [
        CaptionedImage("b.JPG", photos / "b.JPG", "", ("A dog .", "two dogs")),
        CaptionedImage("bare.jpg", photos / "bare.jpg", "", ()),
        CaptionedImage("sub/a.png", photos / "sub/a.png", "", ("Ein Mädchen",)),
    ]


def test_texts_may_lie_in_a_folder_of_their_own(photos, tmp_path_factory, monkeypatch):
    expected = [(image.name, image.captions) for image in read(photos)]
    texts = tmp_path_factory.mktemp("texts")
    (texts / "sub").mkdir()
    for name in ("b.txt", "sub/a.txt"):
        (photos / name).rename(texts / name)
    assert [(i.name, i.captions) for i in read_folder(texts, photos)] == expected
    monkeypatch.chdir(photos)
    here = type(photos)()
    assert [(i.name, i.captions) for i in read_folder(texts, here)] == expected


def test_one_text_beside_two_photos(photos):
    (photos / "b.gif").touch()
    both = r"b\.txt: captions of b\.JPG and b\.gif; give each its own, as b\.gif\.txt"
    with pytest.raises(DataError, match=both):
        read(photos)


def test_a_text_that_is_not_utf8(photos):
    (photos / "b.txt").write_bytes(b"A dog\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"b\.txt:2: not UTF-8"):
        read(photos)


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(ImageError, match="no photos in this folder"):
        read(tmp_path)


def test_thousands_of_photos_are_quick(tmp_path):
    for number in range(1000):
        (tmp_path / f"{number}.jpg").touch()
        (tmp_path / f"{number}.txt").write_text("A dog runs")
    start = time.process_time()
    assert len(read(tmp_path)) == 1000
    assert time.process_time() - start < 3
