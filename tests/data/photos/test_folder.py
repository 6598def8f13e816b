import os
from pathlib import Path

import pytest

from mrnn.data.photos.folder import PhotoFolder
from mrnn.errors import OptionsError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder "in", under a relative name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "sub/b.png", "raw/c.jpg", "@eaDir/a.jpg/d.jpg", "notes.txt", ".e.jpg"):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Path("in", name).touch()
    return PhotoFolder(Path("in"), ["raw/"], print)


def test_the_photos_in_a_folder(folder):
    assert list(folder.photos()) == [Path("in/a.jpg"), Path("in/sub/b.png")]


def test_what_has_changed_is_found_under_the_folders_name(folder):
    names = ["a.jpg", "sub/b.png", "sub", "raw/c.jpg", "raw", "@eaDir/a.jpg/d.jpg", "notes.txt"]
    names += [".e.jpg", "gone.jpg"]
    found = [list(folder.photos_at([os.path.abspath(f"in/{name}")])) for name in names]
    a, b = Path("in/a.jpg"), Path("in/sub/b.png")
    assert found == [[a], [b], [b], [], [], [], [], [], [Path("in/gone.jpg")]]
    assert list(folder.photos_at([os.path.abspath("a.jpg"), os.path.abspath("in2/a.jpg")])) == []


def test_a_name_that_comes_mangled(folder):
    odd = Path("in/sub/caf\udce9.png")
    try:
        odd.touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    mangled = os.path.abspath("in/sub/caf\ufffd.png")
    assert set(folder.photos_at([mangled])) == {odd, Path("in/sub/b.png")}
    Path("in/caf\udce9.png").touch()
    assert Path("in/caf\udce9.png") in set(folder.photos_at([os.path.abspath("in/caf\ufffd.png")]))


def test_a_folder_under_a_link(folder, tmp_path):
    Path("to").symlink_to("in")
    found = PhotoFolder(Path("to"), (), print).photos_at([f"{tmp_path}/in/a.jpg"])
    assert list(found) == [Path("to/a.jpg")]


def test_what_is_no_folder_is_refused(folder):
    for name in ("in/a.jpg", "none"):
        with pytest.raises(OptionsError, match=rf"^{name}: no such folder; give folders to watch$"):
            PhotoFolder(Path(name), (), print)
