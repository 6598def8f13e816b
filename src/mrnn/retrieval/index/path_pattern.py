"""A pattern of paths, such as "*/2024/*": a star is any text, also across folders."""

import fnmatch
import glob
import os
import re
from dataclasses import dataclass
from functools import cached_property


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

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(self.whole))

    @property
    def literals(self) -> list[str]:
        """The text between stars, question marks and brackets: at least one, perhaps empty."""
        return re.split(r"\*|\?|\[!?\]?[^]]*\]", self.whole)
