"""A folder whose photos change while it is looked at."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mrnn.data.photos.paths import excluded_by, is_wanted, photos_below
from mrnn.errors import OptionsError


class PhotoFolder:
    """The photos in a folder, under paths that begin as it was given."""

    def __init__(
        self, folder: Path, exclude: Sequence[str], on_problem: Callable[[str], None]
    ) -> None:
        """See `find_images`. Raises OptionsError for what is no folder."""
        if not folder.is_dir():
            raise OptionsError(f"{folder}: no such folder; give folders to watch")
        self._folder, self._excluded, self._tell = str(folder), excluded_by(exclude), on_problem

    def photos(self) -> Iterator[Path]:
        """All that are in it now."""
        return map(Path, photos_below(self._folder, self._excluded, self._tell))

    def photos_at(self, paths: Iterable[str]) -> Iterator[Path]:
        """Those of absolute paths that are photos in it, or in folders in it."""
        for path in paths:
            if (own := self._own_path(path)) and is_wanted(own, self._folder, self._excluded):
                if os.path.isdir(own):
                    yield from map(Path, self._below(own))
                else:
                    yield Path(own)

    def _below(self, start: str) -> Iterator[str]:
        return photos_below(self._folder, self._excluded, self._tell, start=start)

    def _own_path(self, path: str) -> str:
        """The path as it begins with the folder's name; empty if it is not in it."""
        for root in (os.path.abspath(self._folder), os.path.realpath(self._folder)):
            before = os.path.join(root, "")
            if path.startswith(before):
                own = os.path.join(self._folder, path[len(before) :])
                # A name that is not UTF-8 comes mangled: whatever is new beside it is looked at.
                return own if os.path.lexists(own) or "\ufffd" not in own else os.path.dirname(own)
        return ""
