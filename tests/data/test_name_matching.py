import os
import unicodedata
from pathlib import Path

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow, ImageNames, plain_name
from mrnn.errors import DataError

NFC, NFD = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        (".\\a//b/./c.jpg", "a/b/c.jpg"),
        ("C:\\x\\a.jpg", "C:/x/a.jpg"),
        ("\\\\server\\x\\a.jpg", "/server/x/a.jpg"),
        ("/x//a.jpg", "/x/a.jpg"),
        (NFD, NFC),
    ],
)
def test_plain_names(name, plain):
    assert plain_name(name) == plain


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "sub/b.jpg", NFD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("sub\\b.jpg", "sub/b.jpg"),
        ("sub/../a.jpg", "a.jpg"),
        ("photos/a.jpg", "a.jpg"),
        ("photos\\sub\\b.jpg", "sub/b.jpg"),
        ("C:\\me\\photos\\sub\\b.jpg", "sub/b.jpg"),
        ("/home/you/a.jpg", "a.jpg"),
        ("\\\\nas\\share\\a.jpg", "a.jpg"),
        (NFC, NFD),
        (NFD, NFD),
        ("none.jpg", "none.jpg"),
        ("other/a.jpg", "other/a.jpg"),
        ("sub", "sub"),
    ],
)
def test_a_name_leads_to_the_photo_that_is_there(photos, given, name):
    assert FilesBelow(photos).find(given) == (name, photos / name)


def test_an_absolute_path_within_the_folder_is_below_it(photos):
    assert FilesBelow(photos).find(str(photos / "sub/b.jpg")) == ("sub/b.jpg", photos / "sub/b.jpg")
    assert FilesBelow(photos).find("/none/z.jpg") == ("/none/z.jpg", Path("/none/z.jpg"))


def test_two_photos_in_both_forms_of_unicode_stay_apart(photos):
    (photos / NFC).touch()
    found = FilesBelow(photos)
    assert [found.find(name)[0] for name in (NFC, NFD)] == [NFC, NFD]


def test_a_backslash_may_be_part_of_a_name(photos):
    (photos / "sub\\b.jpg").touch()
    assert FilesBelow(photos).find("sub\\b.jpg")[1] == photos / "sub\\b.jpg"


def test_two_paths_of_another_computer_never_become_one_photo(photos):
    found = FilesBelow(photos)
    found.find("C:\\one\\a.jpg")
    with pytest.raises(DataError, match=r"^C:/one/a\.jpg and C:/two/a\.jpg both lead to .*a\.jpg;"):
        found.find("C:\\two\\a.jpg")


def test_a_path_that_no_system_opens(photos):
    assert FilesBelow(photos).find("a\0b")[0] == "a\0b"
    long = "/".join(["/x" * 5000, "y" * 5000])
    assert FilesBelow(photos).find(long)[1].name != "a.jpg"


def images(root, *names):
    return [CaptionedImage(name, root / name, "", ("a dog",)) for name in names]


@pytest.mark.parametrize(
    ("listed", "places"),
    [
        ("x/a.jpg", [0]),
        ("x\\a.jpg", [0]),
        ("./x/a.jpg", [0]),
        ("x/a", [0]),
        ("a", [0, 1]),
        ("b", [2]),
        (NFC, [3]),
        (NFD, [3]),
        ("B.JPG", []),
        ("z", []),
        ("", []),
    ],
)
def test_what_a_list_means(tmp_path, listed, places):
    names = ImageNames(images(tmp_path, "x/a.jpg", "y/a.jpg", "b.jpg", NFD))
    assert names.find(listed) == places


def test_a_list_may_hold_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ImageNames(images(tmp_path / "photos", "x/a.jpg", "y/a.jpg"))
    assert names.find("photos/y/a.jpg") == names.find(str(tmp_path / "photos/y/a.jpg")) == [1]


def test_images_in_both_forms_of_unicode(tmp_path):
    names = ImageNames(images(tmp_path, NFC, NFD))
    assert (names.find(NFC), names.find(NFD)) == ([0], [1])


def test_other_letters_are_one_photo_where_the_disk_opens_it(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    os.link(tmp_path / "a.jpg", tmp_path / "A.JPG")  # as on a disk that does not tell them apart
    (tmp_path / "B.JPG").touch()
    names = ImageNames(images(tmp_path, "a.jpg", "b.jpg"))
    assert (names.find("A.JPG"), names.find("B.JPG")) == ([0], [])
