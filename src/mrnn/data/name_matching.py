"""Names of photos in captions files and lists: which photo each means.

Unicode writes é in two ways (NFC, NFD), and Windows writes a backslash between folders. Two
spellings are one photo unless the disk has a file of each.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.errors import DataError, shortened

FOLDERS_TRIED = 16
"""How many endings of an absolute path of another computer are looked for."""
_ABSOLUTE = re.compile(r"[A-Za-z]:/|/")


def plain_name(name: str) -> str:
    """The spelling by which names compare: NFC, and / between folders."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if "\\" not in name and "//" not in name and not name.startswith("./") and "/./" not in name:
        return name
    start = "/" if name.startswith(("/", "\\")) else ""
    return start + "/".join(part for part in re.split(r"[/\\]", name) if part not in ("", "."))


class FilesBelow:
    """A folder, which finds the files in it by the names that others give them."""

    def __init__(self, folder: Path) -> None:
        self._root = os.path.abspath(folder)
        self._found: dict[str, tuple[str, Path]] = {}
        self._origin: dict[str, str] = {}

    def find(self, name: str) -> tuple[str, Path]:
        """The file's name below the folder, and its path, be it there or not.

        An absolute path counts from any folder, so one of another computer is found too. Raises
        DataError if two such paths lead to one photo.
        """
        if name not in self._found:
            path = self._path(name)
            below = path.removeprefix(os.path.join(self._root, ""))
            self._found[name] = Path(below).as_posix(), Path(path)
        return self._found[name]

    def _path(self, name: str) -> str:
        plain = plain_name(name)
        if found := self._existing(name) or self._existing(plain):
            return found
        parts = plain.split("/")
        if _ABSOLUTE.match(plain):
            for place in range(1, len(parts))[-FOLDERS_TRIED:]:
                if found := self._existing("/".join(parts[place:])):
                    if self._origin.setdefault(found, plain) != plain:
                        both = f"{shortened(self._origin[found], 90)} and {shortened(plain, 90)}"
                        raise DataError(f"{both} both lead to {shortened(found, 60)}; rename one")
                    return found
        elif len(parts) > 1 and parts[0] == os.path.basename(self._root):
            return self._existing("/".join(parts[1:])) or os.path.join(self._root, plain)
        return os.path.join(self._root, plain)

    def _existing(self, name: str) -> str:
        """The file of that name, in either form of Unicode; empty if there is none."""
        for spelling in {name: 0, unicodedata.normalize("NFD", name): 0}:
            path = os.path.normpath(os.path.join(self._root, spelling))
            if os.path.isfile(path):
                return path
        return ""


class ImageNames:
    """The images of a dataset, found by what a list calls them.

    That is the name, or the file name alone, each with or without the suffix, or the path.
    """

    def __init__(self, images: Sequence[CaptionedImage]) -> None:
        self._images = images
        self._whole, self._plain = dict[str, list[int]](), dict[str, list[int]]()
        self._short = dict[str, list[int]]()
        for place, image in enumerate(images):
            self._whole.setdefault(image.name, []).append(place)
            plain = plain_name(image.name)
            self._plain.setdefault(plain, []).append(place)
            file_name = plain.rpartition("/")[2]
            for name in {file_name, *(n.rpartition(".")[0] for n in (plain, file_name))} - {plain}:
                self._short.setdefault(name, []).append(place)

    def find(self, name: str) -> list[int]:
        """The places of the images that it may mean: of none, one, or several."""
        plain = plain_name(name)
        for known, spelling in ((self._whole, name), (self._plain, plain), (self._short, plain)):
            if spelling in known:
                return known[spelling]
        return self._by_path.get(os.path.abspath(plain), []) or self._as_the_disk_says(plain)

    @cached_property
    def _by_path(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, image in enumerate(self._images):
            places.setdefault(plain_name(os.path.abspath(image.path)), []).append(place)
        return places

    @cached_property
    def _any_case(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for name, found in self._plain.items():
            places.setdefault(name.casefold(), []).extend(found)
        return places

    def _as_the_disk_says(self, name: str) -> list[int]:
        """Names in other case are one photo where the file system opens the same file."""
        return [
            place
            for place in self._any_case.get(name.casefold(), [])
            if _is_same_file(self._images[place].path, name)
        ]


def _is_same_file(path: Path, name: str) -> bool:
    ending = name.split("/")
    other = Path(*path.parts[: -len(ending)], *ending)
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return False
