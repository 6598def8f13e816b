"""Where photos are: files, folders, globs and lists to the paths of the photos in them."""

import codecs
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mrnn.data.image_files.image_format import READ
from mrnn.data.images import SUFFIXES, UNREAD
from mrnn.errors import ImageError, OptionsError, printable

SYSTEM_FOLDERS = (
    *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@tmp"),  # NAS
    *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "FOUND.000"),  # Windows
    *("lost+found", "__MACOSX", "Thumbs"),
)
"""Folders that systems make, in any case of letters: what is in them is no one's photo."""

_SYSTEM = frozenset(name.casefold() for name in SYSTEM_FOLDERS)

Excluded = Callable[[str], bool]
"""Whether a path below the folder that is searched is left out; that of a folder ends in /."""


def find_images(
    paths: Iterable[str | Path],
    *,
    exclude: Sequence[str] = (),
    on_problem: Callable[[str], None] | None = None,
) -> Iterator[Path]:
    """The photos that `paths` stand for, each once: files, folders (searched to the bottom), globs.

    A file that is named is kept even if it is missing: `load_image` reports it. A str may be a
    glob, a Path is not. In folders and globs only names that end like an image count; hidden ones
    and those in `SYSTEM_FOLDERS` do not, unless they are named. Links to folders are followed.
    `exclude` are patterns as in a .gitignore of the folder that is searched. A folder that cannot
    be listed or has no photo is told to `on_problem`, and the others are searched; without it
    raises ImageError. Raises OptionsError for a pattern that is none.
    """
    excluded, tell = excluded_by(exclude), on_problem or _refuse
    given = list(paths)
    if len(given) == 1 and os.path.isdir(given[0]):  # a walk meets each photo once
        yield from map(Path, _photos_at(given[0], excluded, tell))
        return
    seen = set()
    for path in given:
        for photo in _photos_at(path, excluded, tell):
            key = os.path.abspath(photo)
            if key not in seen:
                seen.add(key)
                yield Path(photo)


def listed_paths(content: bytes) -> list[Path]:
    r"""The paths in a list: one a line, or with a \0 after each as of `find -print0`.

    Bytes that are not UTF-8 are kept as the file system has them.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell writes
        content = content.decode("utf-16", "replace").encode()
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:
        names = content.split(b"\0")
    else:
        names = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [Path(os.fsdecode(name)) for name in names if name.strip()]


def is_left_out(name: str) -> bool:
    """Whether this name of a file or folder is a hidden one or that of a system folder."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_photo(name: str) -> bool:
    """Whether the name ends like that of a photo."""
    return os.path.splitext(name)[1].lower() in (*SUFFIXES, *UNREAD)


def excluded_by(patterns: Sequence[str]) -> Excluded:
    """What patterns as in a .gitignore leave out. Raises OptionsError for one that is none."""
    if not patterns:
        return lambda _: False
    from pathspec import GitIgnoreSpec  # takes time to import

    # A line of a .gitignore that begins so is a comment; here it is #recycle.
    patterns = [f"\\{each}" if each.startswith("#") else each for each in patterns]
    for pattern in patterns:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except ValueError:
            raise OptionsError(
                f"--exclude {pattern!r}: not a pattern; write it as in a .gitignore, e.g. 'raw/' "
                "or '*_thumb.jpg'"
            ) from None
    return GitIgnoreSpec.from_lines(patterns).match_file


def _refuse(problem: str) -> None:
    raise ImageError(problem)


def _photos_at(path: str | Path, excluded: Excluded, tell: Callable[[str], None]) -> Iterator[str]:
    text, nothing = os.fspath(path), True

    def told(problem: str) -> None:
        nonlocal nothing
        nothing = False
        tell(problem)

    if os.path.isdir(text):
        found, problem = photos_below(text, excluded, told), "no photos in this folder"
    elif isinstance(path, str) and _is_glob(text):
        found, problem = _matches(text, excluded), "no photo matches"
    else:
        if not excluded(_relative(text)):
            yield text
        return
    for photo in found:
        nothing = False
        yield photo
    if nothing:
        tell(f"{printable(text)}: {problem}; looked for {READ} by their names")


def _is_glob(path: str) -> bool:
    return any(mark in path for mark in "*?[") and not os.path.lexists(path)


def _matches(pattern: str, excluded: Excluded) -> Iterator[str]:
    """The photos that a glob means, without what it does not name of system folders."""
    named = set(_parts(pattern))
    for path in sorted(glob.glob(pattern, recursive=True)):
        parts = _parts(path)
        system = any(is_left_out(part) for part in parts if part not in named)
        if is_photo(path) and not (system or excluded(_relative(path)) or os.path.isdir(path)):
            yield path


def _parts(path: str) -> list[str]:
    return [part for part in re.split(r"[/\\]" if os.name == "nt" else "/", path) if part != ".."]


def _relative(path: str) -> str:
    """A path as patterns are compared with it: without what makes it absolute, or ./ before it."""
    return os.path.normpath(os.path.splitdrive(path)[1]).lstrip("/\\" if os.name == "nt" else "/")


def photos_below(
    folder: str, excluded: Excluded, tell: Callable[[str], None], *, start: str | None = None
) -> Iterator[str]:
    """The photos in a folder to its bottom, or in the part of it that begins at `start`.

    Folders that cannot be listed are told to `tell`.
    """

    def lost(error: OSError) -> None:
        mend = "change it with chmod +rx, or leave it out by --exclude"
        if not isinstance(error, PermissionError):
            mend = "check the drive"
        tell(f"{printable(error.filename)}: cannot list this folder ({error.strerror}); {mend}")

    def is_excluded(path: str) -> bool:
        return excluded(_below(path, folder))

    seen = set()  # links may lead back; what is in a folder itself goes before what they lead to
    roots = [start or folder]
    for root in roots:
        for parent, folders, files in os.walk(root, onerror=lost):
            if (place := os.path.realpath(parent)) in seen:
                folders.clear()
                continue
            seen.add(place)
            names = [name for name in sorted(folders) if not is_left_out(name)]
            below = [os.path.join(parent, name) for name in names]
            below = [path for path in below if not is_excluded(path + "/")]
            folders[:] = map(os.path.basename, below)
            roots += [path for path in below if os.path.islink(path)]
            for name in sorted(files):
                if not is_left_out(name) and is_photo(name):
                    path = os.path.join(parent, name)
                    if not is_excluded(path):
                        yield path


def is_wanted(path: str, folder: str, excluded: Excluded) -> bool:
    """Whether what appears below a folder would be found there: as a photo, or as a folder."""
    parts = _parts(_below(path, folder)) if path != folder else []
    heads = ("/".join(parts[:count]) + "/" for count in range(1, len(parts)))
    if any(map(is_left_out, parts)) or any(map(excluded, heads)):
        return False
    below = "/".join(parts)
    if os.path.isdir(path):
        return not (parts and excluded(f"{below}/"))
    return is_photo(path) and not excluded(below)


def _below(path: str, folder: str) -> str:
    return path[len(folder) :].lstrip(os.sep)
