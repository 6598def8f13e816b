import os
import shutil
import unicodedata

import pytest

from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.index.names import IndexNames
from mrnn.retrieval.index.writer import index_photos


@pytest.fixture
def add(model_with_heads, tmp_path, engine):
    """Adds photos to an index; the names that are in it then, below the folder of the test."""
    model = RetrievalModel.load(model_with_heads)

    def run(*photos):
        index_photos(photos, tmp_path / "i", model, lambda: None, lambda _: None)
        names = [name for _, name in open_index(tmp_path / "i").names()]
        return [os.path.relpath(name, tmp_path) for name in names]

    return run


@pytest.fixture
def photo(colours):
    return colours.images[0].path


@pytest.mark.parametrize("first", ["photos", "link"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_photo_that_a_link_to_its_folder_gives_too_counts_once(
    add, photo, tmp_path, first, at_once
):
    (tmp_path / "link").symlink_to(photo.parent)
    folders = sorted(("photos", "link"), key=lambda folder: folder != first)
    paths = [tmp_path / folder / photo.name for folder in folders]
    if at_once:
        assert add(*paths) == [f"{first}/{photo.name}"]
    else:
        assert add(paths[0]) == add(paths[1]) == [f"{first}/{photo.name}"]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_link_to_a_photo_counts_as_that_photo(add, photo, tmp_path, at_once):
    (tmp_path / "link.png").symlink_to(photo)
    (tmp_path / "other.png").symlink_to(photo)
    if at_once:
        assert add(tmp_path / "link.png", photo, tmp_path / "other.png") == ["link.png"]
    else:
        add(photo)
        assert add(tmp_path / "link.png") == [f"photos/{photo.name}"]


def test_a_relative_path_is_the_absolute_one(add, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = photo.relative_to(tmp_path)
    assert add(photo, relative, tmp_path / "photos" / ".." / relative) == [str(relative)]


@pytest.mark.parametrize("same", [True, False])
def test_unicode_forms_are_one_photo_where_the_file_system_says_so(
    add, photo, tmp_path, monkeypatch, same
):
    composed, apart = (tmp_path / unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    shutil.copy(photo, composed)
    os.link(composed, apart)  # stands for a file system that takes them for one
    if not same:
        apart.unlink()
        shutil.copy(photo, apart)
    names = [path.name for path in (composed, apart)]
    assert add(composed, apart) == names[: 1 if same else 2]


def test_copies_are_photos_of_their_own(add, photo, tmp_path):
    shutil.copytree(photo.parent, tmp_path / "copies")
    assert len(add(photo, tmp_path / "copies" / photo.name)) == 2


def test_folders_are_compared_when_a_photo_is_new_and_only_then(add, photo, monkeypatch):
    add(photo)
    monkeypatch.setattr(IndexNames, "_known", None)
    assert len(add(photo)) == 1
