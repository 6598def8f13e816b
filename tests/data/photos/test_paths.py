import os
from pathlib import Path

import pytest

from mrnn.data.images import load_image
from mrnn.data.photos.paths import SYSTEM_FOLDERS, find_images, listed_paths
from mrnn.errors import ImageError, OptionsError


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
    (album / "phone.JXL").write_bytes(b"\xff\x0a")
    assert "phone.JXL" in names([album], album)
    with pytest.raises(ImageError, match=r"phone\.JXL: JPEG XL, which is not read; convert it"):
        load_image(album / "phone.JXL")


def test_globs(album):
    assert names([f"{album}/*.jpg"], album) == ["[1].jpg", "b.jpg"]
    assert names([f"{album}/**"], album) == ["[1].jpg", "a.PNG", "b.jpg", "c/d.tiff"]
    assert names([f"{album}/[1].jpg"], album) == ["[1].jpg"]


def test_folders_and_globs_without_photos(album, tmp_path):
    (album / "empty").mkdir()
    looked = "looked for JPEG, PNG, .* JPEG 2000 by their names$"
    with pytest.raises(ImageError, match=rf"empty: no photos in this folder; {looked}"):
        list(find_images([album / "empty"]))
    with pytest.raises(ImageError, match=rf"x\*\.jpg: no photo matches; {looked}"):
        list(find_images([f"{album}/x*.jpg"]))


@pytest.fixture
def closed(album, monkeypatch):
    """The folder c cannot be listed, though the tests may run as root."""
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("/c"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return album / "c"


def test_a_folder_that_cannot_be_listed_costs_itself_alone(album, closed):
    problems = []
    found = list(find_images([album], on_problem=problems.append))
    assert found == [album / "[1].jpg", album / "a.PNG", album / "b.jpg"]
    why = "cannot list this folder (Permission denied)"
    mend = "change it with chmod +rx, or leave it out by --exclude"
    assert problems == [f"{closed}: {why}; {mend}"]
    assert list(find_images([closed, album / "b.jpg"], on_problem=problems.append)) == found[2:]
    assert problems[1:] == problems[:1]
    assert list(find_images([album], exclude=["c/"])) == found
    with pytest.raises(
        ImageError, match=r"c: cannot list this folder \(Permission denied\); change"
    ):
        list(find_images([album]))


def test_a_drive_that_fails(album, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(ImageError, match=r"folder \(Input/output error\); check the drive$"):
        list(find_images([album]))


def test_a_folder_without_photos_is_told_and_the_others_are_searched(album):
    (album / "empty").mkdir()
    problems = []
    paths = [album / "empty", f"{album}/x*.jpg", album / "c"]
    assert list(find_images(paths, on_problem=problems.append)) == [album / "c/d.tiff"]
    assert [problem.split("; ")[0] for problem in problems] == [
        f"{album}/empty: no photos in this folder", f"{album}/x*.jpg: no photo matches"
    ]  # fmt: skip


# What is left out


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


@pytest.mark.parametrize("name", [*SYSTEM_FOLDERS, "@EADIR", ".Trash-1000", ".thumbnails"])
def test_system_folders_are_left_out_unless_named(tmp_path, name):
    touch(tmp_path, "a.jpg", "._a.jpg", f"b/{name}/a.jpg/c.jpg")
    assert names([tmp_path], tmp_path) == ["a.jpg"]
    assert names([f"{tmp_path}/**"], tmp_path) == ["a.jpg"]
    inside = [f"b/{name}/a.jpg/c.jpg"]
    assert names([tmp_path / "b" / name], tmp_path) == inside
    assert names([tmp_path / inside[0]], tmp_path) == inside
    assert names([f"{tmp_path}/b/{name}/**"], tmp_path) == inside


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["raw"], ["a.jpg", "b/a_thumb.jpg"]),
        (["raw/"], ["a.jpg", "b/a_thumb.jpg"]),
        (["*_thumb.jpg"], ["a.jpg", "b/raw/c.jpg", "raw/d.png"]),
        (["/raw"], ["a.jpg", "b/a_thumb.jpg", "b/raw/c.jpg"]),
        (["b/*.jpg"], ["a.jpg", "b/raw/c.jpg", "raw/d.png"]),
        (["b/**"], ["a.jpg", "raw/d.png"]),
        (["*.png", "b"], ["a.jpg"]),
        (["#old"], ["a.jpg", "b/a_thumb.jpg", "b/raw/c.jpg", "raw/d.png"]),
        (["*.jpg", "!a.jpg"], ["a.jpg", "raw/d.png"]),
    ],
)
def test_patterns_leave_out_what_they_match_below_the_folder(tmp_path, patterns, left):
    touch(tmp_path, "a.jpg", "b/a_thumb.jpg", "b/raw/c.jpg", "raw/d.png", "#old/e.jpg")
    found = find_images([tmp_path], exclude=[*patterns, "#old"])
    assert [str(path.relative_to(tmp_path)) for path in found] == left


def test_patterns_leave_out_of_globs_and_lists_too(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "raw/d.jpg")
    monkeypatch.chdir(tmp_path)
    for paths in (
        ["*/*.jpg", "*.jpg"],
        [Path("a.jpg"), Path("raw/d.jpg")],
        ["./raw/d.jpg", "a.jpg"],
    ):
        assert list(find_images(paths, exclude=["raw/"], on_problem=print)) == [Path("a.jpg")]


def test_a_pattern_that_is_none_is_refused(album):
    with pytest.raises(
        OptionsError, match=r"^--exclude '!': not a pattern; write it as in a \.git"
    ):
        list(find_images([album], exclude=["!"]))


# Lists


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a.jpg\nb/c d.jpg\n", ["a.jpg", "b/c d.jpg"]),
        (b"a.jpg\r\n\r\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"a\nb.jpg\0c.jpg\r\0", ["a\nb.jpg", "c.jpg\r"]),
        (b"\xef\xbb\xbfa.jpg\n", ["a.jpg"]),
        ("ä.jpg\r\n".encode("utf-16"), ["ä.jpg"]),
        (b"caf\xe9.jpg\n", ["caf\udce9.jpg"]),
        (b"", []),
    ],
)
def test_a_list_has_a_path_a_line_or_between_zeros(content, expected):
    assert listed_paths(content) == list(map(Path, expected))


def test_a_path_of_a_list_is_no_glob(album):
    gone = album / "x*.jpg"
    assert list(find_images(listed_paths(os.fsencode(f"{gone}\n")))) == [gone]
