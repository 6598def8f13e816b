import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.photos.names import KnownPhotos, name_as_text, name_from_text

ODD = st.sampled_from(["\\", "u", "d", "c", "e", "9", "8", "0", "5", "\udce9", "\ud800", "a", "é"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b.jpg", "a b.jpg"),
        ("emoji 🐕.jpg", "emoji 🐕.jpg"),
        (r"C:\photos\a.jpg", r"C:\photos\a.jpg"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        (r"caf\udce9.jpg", r"caf\u005cudce9.jpg"),
        (r"\u005c", r"\u005cu005c"),
    ],
)
def test_a_name_as_text(name, text):
    assert name_as_text(name) == text
    assert name_from_text(text) == name


@given(st.lists(ODD, max_size=12).map("".join))
def test_every_name_has_a_text_of_its_own(name):
    text = name_as_text(name)
    assert text.encode().decode() == text
    assert name_from_text(text) == name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "sub" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_photo_is_known_however_a_path_leads_there(folder):
    (folder / "to").symlink_to("sub")
    known = KnownPhotos()
    known.add("sub/a.jpg")
    same = ["sub/a.jpg", "./sub//a.jpg", "sub/../sub/a.jpg", f"{folder}/sub/a.jpg", "to/a.jpg"]
    assert all(name in known for name in same)
    assert not any(name in known for name in ("sub/b.jpg", "a.jpg", "sub/A.jpg", "none/a.jpg"))
    assert len(known) == 1


def test_photos_that_are_gone_are_known_by_their_paths(folder):
    known = KnownPhotos()
    known.add("gone/a.jpg")
    known.add("a\0b.jpg")
    assert f"{folder}/gone/a.jpg" in known
    assert "gone/./a.jpg" in known
    assert "a\0b.jpg" in known
    assert "gone/b.jpg" not in known


def test_names_with_one_file_are_several_photos(folder):
    os.link("sub/a.jpg", "sub/c.jpg")
    (folder / "sub" / "d.jpg").symlink_to("a.jpg")
    known = KnownPhotos()
    known.add("sub/a.jpg")
    assert "sub/c.jpg" not in known
    assert "sub/d.jpg" not in known


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("names", [(COMPOSED, DECOMPOSED), ("x.JPG", "x.jpg")])
def test_names_are_one_where_the_file_system_says_so(folder, names):
    one, other = names
    (folder / one).touch()
    known = KnownPhotos()
    known.add(one)
    assert (other in known) == (folder / other).exists()
    if not (folder / other).exists():
        os.link(one, other)  # as a file system that takes both for one
        assert other in known
        os.unlink(other)
        (folder / other).touch()
        assert other not in known
