import os

import pytest

from mrnn.retrieval.index.path_pattern import PathPattern


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
