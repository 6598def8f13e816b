"""Names of photos: as text that holds any of them, and known again however they are written."""

import os
import re
import unicodedata

_ESCAPED = re.compile(r"\\u(005c|d[89a-f][0-9a-f]{2})")


def name_as_text(name: str) -> str:
    r"""A file name as valid UTF-8, different for different names: \udce9 for the byte e9 alone.

    A backslash is written \u005c where it would be taken for the beginning of such an escape.
    """
    name = re.sub(r"\\(?=u(?:005c|d[89a-f][0-9a-f]{2}))", r"\\u005c", name)
    return name.encode("utf-8", "backslashreplace").decode()


def name_from_text(text: str) -> str:
    """The file name that `name_as_text` wrote."""
    return _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)


class KnownPhotos:
    """Photos by their names, and by where they are, however a path leads there.

    Relative and absolute paths, links to folders, and names that the file system takes for one (in
    other letters, or composed otherwise) are the same photo. Files with several names are several.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._places: dict[tuple[object, str], list[str]] = {}
        self._folders: dict[str, object] = {}

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str) -> None:
        """A photo that is known from now on."""
        if name not in self._names:
            self._names.add(name)
            self._places.setdefault(self._place(name), []).append(name)

    def __contains__(self, name: str) -> bool:
        others = () if name in self._names else self._places.get(self._place(name), ())
        return name in self._names or any(_is_same(name, other) for other in others)

    def _place(self, name: str) -> tuple[object, str]:
        folder, base = os.path.split(name)
        if folder not in self._folders:
            try:
                status = os.stat(folder or ".")
                self._folders[folder] = status.st_dev, status.st_ino
            except (OSError, ValueError):
                self._folders[folder] = os.path.abspath(folder)
        return self._folders[folder], unicodedata.normalize("NFC", base).casefold()


def _is_same(name: str, other: str) -> bool:
    """Whether two names in one folder are one photo."""
    if os.path.basename(name) == os.path.basename(other):
        return True
    try:
        return os.path.samefile(name, other)
    except (OSError, ValueError):
        return False
