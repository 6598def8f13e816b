import os
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


def test_another_suffix_and_texts_of_whole_names(photos):
    (photos / "b.caption").write_text("one\ntwo\n")
    (photos / "bare.jpg.caption").write_text("three")
    found = {image.name: image.captions for image in read_folder(photos, photos, suffix=".caption")}
    assert found == {"b.JPG": ("one", "two"), "bare.jpg": ("three",), "sub/a.png": ()}


def test_a_text_of_the_whole_name_is_for_that_photo_alone(photos):
    (photos / "b.gif").touch()
    (photos / "b.gif.txt").write_text("A gif")
    found = {image.name: image.captions for image in read(photos)}
    assert (found["b.JPG"], found["b.gif"]) == (("A dog .", "two dogs"), ("A gif",))


def test_a_heic_beside_its_jpeg_leaves_the_text_to_it(photos):
    (photos / "b.heic").touch()
    (photos / "only.heic").touch()
    (photos / "only.txt").write_text("Mine")
    found = {image.name: image.captions for image in read(photos)}
    assert (found["b.JPG"], found["b.heic"]) == (("A dog .", "two dogs"), ())
    assert found["only.heic"] == ("Mine",)


def test_a_text_in_the_other_form_of_unicode(tmp_path):
    (tmp_path / "e\u0301.jpg").touch()
    (tmp_path / "\u00e9.txt").write_text("A dog")
    assert read(tmp_path)[0].captions == ("A dog",)


def test_photos_without_texts(photos):
    problem = (
        rf"^{photos}: 3 photos, none with a \.x beside it; 2 have a \.txt: give --suffix \.txt$"
    )
    with pytest.raises(DataError, match=problem):
        list(read_folder(photos, photos, suffix=".x"))
    for name in ("b.txt", "sub/a.txt"):
        (photos / name).unlink()
    with pytest.raises(DataError, match=r"3 photos, none with a \.txt beside it; write a photo's"):
        read(photos)


def test_a_name_that_is_not_utf8_costs_itself(photos):
    (photos / "caf\udce9.jpg").touch()
    notes = []
    assert len(list(read_folder(photos, photos, notes=notes))) == 3
    assert notes == [r"1 photo left out, whose name is not UTF-8: 'caf\udce9.jpg'"]


def test_a_folder_that_cannot_be_listed_costs_itself(photos, monkeypatch):
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    notes = []
    assert [image.name for image in read_folder(photos, photos, notes=notes)] == [
        "b.JPG",
        "bare.jpg",
    ]
    assert "sub: cannot list this folder (Permission denied)" in notes[0]
