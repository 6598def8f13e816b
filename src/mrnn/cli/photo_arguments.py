"""The photos that a command takes: files, folders, globs, a list on stdin, and what is left out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import tell
from mrnn.errors import ImageError, OptionsError

Photos = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTO",
        help="Photos, folders of them, or globs; - reads a list of them from stdin, a path a line "
        "or as find -print0 writes it",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Leave out photos and folders, as in a .gitignore of the folder; may be repeated. "
        "Always left out, unless named: hidden ones and @eaDir, #recycle, #snapshot, @Recycle, "
        "@Recently-Snapshot, @tmp, $RECYCLE.BIN, RECYCLER, System Volume Information, FOUND.000, "
        "lost+found, __MACOSX, Thumbs",
    ),
]


def found_photos(paths: Sequence[str], exclude: Sequence[str] | None) -> tuple[list[Path], int]:
    """The photos, and how many folders, globs and lists had none or could not be searched.

    Each of those is told in a line on stderr. Raises ImageError where one is all there is, and
    OptionsError for an empty list.
    """
    from mrnn.data.photos.paths import find_images

    problems: list[str] = []
    found = find_images(named_paths(paths), exclude=exclude or (), on_problem=problems.append)
    photos = list(found)
    if not photos and len(problems) == 1:
        raise ImageError(problems[0])
    for problem in problems:
        tell(problem)
    return photos, len(problems)


def named_paths(paths: Sequence[str]) -> list[str | Path]:
    """The paths, with those that stdin lists in place of "-". Raises OptionsError if none are."""
    from mrnn.data.photos.paths import listed_paths

    named: list[str | Path] = []
    for path in paths:
        if path != "-":
            named.append(path)
            continue
        listed = listed_paths(sys.stdin.buffer.read() if sys.stdin else b"")
        if not listed:
            raise OptionsError("-: the list on stdin is empty; give it a path a line")
        named += listed
    return named
