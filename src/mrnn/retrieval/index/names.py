"""The name of a photo in an index: its absolute path, or the one by which it is there already."""

import os
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from mrnn.data.feature_store.writer import FeatureWriter

PHOTOS_AT_ONCE = 256
"""Photos that are looked up together."""


class IndexNames:
    """Finds a photo by other paths: through links, or in another Unicode form."""

    def __init__(self, writer: FeatureWriter) -> None:
        self._writer = writer
        self._folders: dict[str, set[str]] | None = None
        self._links: dict[str, str] = {}
        self._recent: deque[str] = deque(maxlen=4 * PHOTOS_AT_ONCE)  # perhaps not added yet

    def named(self, photos: Iterable[str | Path]) -> Iterator[tuple[str, str | Path]]:
        """Each photo after its name."""
        photos = iter(photos)
        while block := list(islice(photos, PHOTOS_AT_ONCE)):
            paths = [os.path.abspath(photo) for photo in block]
            rows = self._writer.store.find(paths).tolist()
            for path, row, photo in zip(paths, rows, block, strict=True):
                yield path if row >= 0 or self._writer.is_added(path) else self._known(path), photo

    def _known(self, path: str) -> str:
        """Another path of the same file by which it is in the index, or else this one."""
        real = os.path.realpath(path)
        folder, name = os.path.split(real)
        near = [os.path.join(other, name) for other in self._same_folders(folder)]
        near += [unicodedata.normalize(form, path) for form in ("NFC", "NFD")]
        near += [self._links[real]] if real in self._links else []
        for other in near:
            if other != path and self._is_there(other) and _same_file(other, path):
                return other
        self._recent.append(path)
        self._same_folders(folder).add(os.path.dirname(path))
        if os.path.islink(path):
            self._links.setdefault(real, path)
        return path

    def _is_there(self, name: str) -> bool:
        added = name in self._recent or self._writer.is_added(name)
        return added or bool(self._writer.store.find([name])[0] >= 0)

    def _same_folders(self, real: str) -> set[str]:
        """The folders of the index's photos that are this one."""
        if self._folders is None:
            self._folders = defaultdict(set)
            for folder in {os.path.dirname(name) for _, name in self._writer.store.names()}:
                with suppress(OSError, ValueError):  # a NUL in the name, of a damaged index
                    self._folders[os.path.realpath(folder)].add(folder)
        return self._folders[real]


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False
