import os

import pytest

from mrnn.data.images import load_image
from mrnn.data.photo_paths import find_images
from mrnn.errors import ImageError


@pytest.fixture
def album(tmp_path):
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        ".hidden.jpg",
        "c/d.tiff",
        "c/.git/e.jpg",
        "[1].jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    return tmp_path


def names(paths, album):
    return [str(path.relative_to(album)) for path in find_images(paths)]


def test_a_folder_is_searched_in_order_without_hidden_ones(album):
    assert names([album], album) == ["[1].jpg", "a.PNG", "b.jpg", "c/d.tiff"]


def test_a_file_is_taken_as_named_even_if_missing(album):
    given = [album / "notes.txt", str(album / "none.jpg"), album / ".hidden.jpg"]
    assert list(find_images(given)) == [album / "notes.txt", album / "none.jpg", given[2]]


def test_each_path_once(album):
    given = [album / "b.jpg", album, f"{album}/c/../b.jpg", album / "c"]
    assert names(given, album) == ["b.jpg", "[1].jpg", "a.PNG", "c/d.tiff"]


def test_links_to_folders_are_followed_and_may_lead_back(album, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "e.jpg").touch()
    (album / "c" / "to").symlink_to(elsewhere)
    (album / "c" / "back").symlink_to(album)
    (album / "a").symlink_to(album / "c")  # before it by name, but a link
    expected = ["[1].jpg", "a.PNG", "b.jpg", "c/d.tiff", "c/to/e.jpg"]
    assert names([album], album) == expected


def test_photos_of_a_kind_that_is_not_read_are_told_about(album):
    (album / "phone.HEIC").write_bytes(b"\0\0\0 ftypheic")
    assert "phone.HEIC" in names([album], album)
    with pytest.raises(
        ImageError, match=r"phone\.HEIC: not a JPEG, .*; convert it to JPEG or PNG$"
    ):
        load_image(album / "phone.HEIC")


def test_globs(album):
    assert names([f"{album}/*.jpg"], album) == ["[1].jpg", "b.jpg"]
    assert names([f"{album}/**"], album) == ["[1].jpg", "a.PNG", "b.jpg", "c/d.tiff"]
    assert names([f"{album}/[1].jpg"], album) == ["[1].jpg"]


def test_folders_and_globs_without_photos(album, tmp_path):
    (album / "empty").mkdir()
    with pytest.raises(ImageError, match=r"empty: no photos in this folder; looked for \.jpg"):
        list(find_images([album / "empty"]))
    with pytest.raises(ImageError, match=r"x\*\.jpg: no photo matches; looked for \.jpg"):
        list(find_images([f"{album}/x*.jpg"]))


def test_a_folder_that_cannot_be_listed(album, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ImageError, match=r"cannot list this folder \(Permission denied\)"):
        list(find_images([album]))
