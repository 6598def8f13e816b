"""Where photos are: files, folders and globs to the paths of the photos in them."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mrnn.data.images import SUFFIXES, UNREAD, printable
from mrnn.errors import ImageError


def find_images(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The photos that `paths` stand for, each once: files, folders (searched to the bottom), globs.

    A file that is named is kept even if it is missing: `load_image` reports it. In folders
    and globs only names that end like an image count, and hidden ones do not; links to folders
    are followed.
    """
    given = list(map(str, paths))
    if len(given) == 1 and os.path.isdir(given[0]):  # a walk meets each photo once
        yield from map(Path, _photos_at(given[0]))
        return
    seen = set()
    for path in given:
        for photo in _photos_at(path):
            key = os.path.abspath(photo)
            if key not in seen:
                seen.add(key)
                yield Path(photo)


def _photos_at(path: str) -> Iterator[str]:
    kinds = ", ".join(SUFFIXES)
    if os.path.isdir(path):
        found, problem = _walk(path), f"no photos in this folder; looked for {kinds}"
    elif any(mark in path for mark in "*?[") and not os.path.lexists(path):
        found = filter(_is_photo, sorted(glob.glob(path, recursive=True)))
        problem = f"no photo matches; looked for {kinds}"
    else:
        found, problem = iter([path]), ""
    nothing = True
    for photo in found:
        nothing = False
        yield photo
    if nothing:
        raise ImageError(f"{printable(path)}: {problem}")


def _walk(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        problem = f"cannot list this folder ({error.strerror}); change it with chmod +rx"
        raise ImageError(f"{printable(error.filename)}: {problem}")

    seen = set()  # links may lead back; what is in a folder itself goes before what they lead to
    roots = [folder]
    for root in roots:
        for parent, folders, files in os.walk(root, onerror=refuse):
            if (place := os.path.realpath(parent)) in seen:
                folders.clear()
                continue
            seen.add(place)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = (os.path.join(parent, name) for name in folders)
            roots += [path for path in below if os.path.islink(path)]
            for name in sorted(files):
                if not name.startswith(".") and _is_photo(name):
                    yield os.path.join(parent, name)


def _is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in (*SUFFIXES, *UNREAD)
