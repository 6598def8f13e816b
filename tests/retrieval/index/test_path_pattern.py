import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.retrieval.index.path_pattern import PathPattern, folder_of


@pytest.mark.parametrize(
    ("given", "matching", "other"),
    [
        ("*/2024/*", "/photos/2024/a/b.jpg", "/photos/2023/2024.jpg"),
        ("/photos/*.jpg", "/photos/a/b.jpg", "/photos/a/b.png"),
        ("*/a?.jpg", "/photos/ab.jpg", "/photos/a.jpg"),
        ("*/[ab].jpg", "/photos/a.jpg", "/photos/c.jpg"),
        ("*/[!ab].jpg", "/photos/c.jpg", "/photos/a.jpg"),
    ],
)
def test_whole_paths_match(given, matching, other):
    pattern = PathPattern.of(given, are_paths=True)
    assert pattern.matches(matching)
    assert not pattern.matches(other)


def test_a_path_without_a_star_begins_in_the_working_folder(tmp_path, monkeypatch):
    folder = tmp_path / "[x]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    pattern = PathPattern.of("./a/*.jpg", are_paths=True)
    assert pattern.matches(f"{folder}{os.sep}a{os.sep}b.jpg")
    assert not pattern.matches("a/b.jpg")
    assert PathPattern.of("a/*.jpg", are_paths=False).matches("a/b.jpg")


@pytest.mark.parametrize(
    ("given", "literals"),
    [
        ("*/2024/*", ["", "/2024/", ""]),
        ("/a?b[!]c]d[[]e*", ["/a", "b", "d", "e", ""]),
        ("/no[star", ["/no[star"]),
    ],
)
def test_the_text_between(given, literals):
    assert PathPattern.of(given, are_paths=True).literals == literals


@pytest.mark.parametrize(
    ("pattern", "every", "none", "some"),
    [
        ("*/2024/*", "/photos/2024/a/", "/photos/2023/", None),
        ("*/2024/*.jpg", None, "/photos/2023/", "/photos/2024/"),
        ("*.jpg", None, None, "/photos/"),
        ("/photos/20[12]?/*", "/photos/2024/", "/photos/", None),
        ("/photos/img*", "/photos/img-a/", "/other/img/", "/photos/"),
        ("*", "", None, None),
        ("*[/]x", None, None, "/a/"),
        ("a/[!", None, "/a/", "a/"),
    ],
)
def test_folders_decide(pattern, every, none, some):
    made = PathPattern.of(pattern, are_paths=False)
    for folder, decided in ((every, True), (none, False), (some, None)):
        assert folder is None or made.matches_in(folder) is decided


TEXT = st.lists(st.sampled_from("ab/?*[]!"), max_size=8).map("".join)


@given(whole=TEXT, name=TEXT)
def test_what_a_folder_decides_is_true_of_its_names(whole, name):
    pattern = PathPattern.of(whole, are_paths=False)
    assert pattern.matches_in(folder_of(name)) in (None, pattern.matches(name))


def test_the_folder_of_a_name():
    assert [*map(folder_of, ["/a/b.jpg", "/a", "a", "a/b/", ""])] == ["/a/", "/", "", "a/b/", ""]
