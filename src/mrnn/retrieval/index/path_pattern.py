"""A pattern of paths, such as "*/2024/*": a star is any text, also across folders.

There are far fewer folders than photos, and often a folder decides about all of its photos.
"""

import fnmatch
import glob
import os
import re
from dataclasses import dataclass
from functools import cached_property

_WILDCARD = re.compile(r"\*|\?|\[!?\]?[^]]*\]")


def folder_of(name: str) -> str:
    """A name up to its last slash."""
    return name[: name.rfind("/") + 1]


@dataclass(frozen=True)
class PathPattern:
    """Matches whole names of an index."""

    given: str
    """As it was asked for."""
    whole: str
    """Of whole names."""

    @classmethod
    def of(cls, given: str, *, are_paths: bool) -> "PathPattern":
        """A pattern of names; of paths from the root or, without a star, the working folder."""
        if not are_paths or given.startswith("*") or os.path.isabs(given):
            return cls(given, given)
        return cls(given, os.path.normpath(os.path.join(glob.escape(os.getcwd()), given)))

    def matches(self, name: str) -> bool:
        """Whether it matches a name."""
        return self._regex.match(name) is not None

    def matches_in(self, folder: str) -> bool | None:
        """Whether it matches names of which this is the `folder_of`: all, none, or perhaps some."""
        if not self._beginning.match(folder):
            return False
        return True if self.whole.endswith("*") and self.matches(folder) else None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(self.whole))

    @cached_property
    def _beginning(self) -> re.Pattern[str]:
        """Of folders: its last slash is a slash of the name, so of the folder."""
        without = _WILDCARD.sub(lambda found: "*" * len(found[0]), self.whole)
        return re.compile(fnmatch.translate(self.whole[: without.rfind("/") + 1] + "*"))

    @property
    def literals(self) -> list[str]:
        """The text between stars, question marks and brackets: at least one, perhaps empty."""
        return _WILDCARD.split(self.whole)
