"""The condition in LanceDB's SQL that the paths of a pattern meet.

To compare every path with a pattern takes 40 ns a row at each search. So folders are compared, and
paths only where a folder does not decide about its photos.
"""

from collections.abc import Sequence
from itertools import groupby

from mrnn.data.photos.names import name_as_text, name_from_text
from mrnn.retrieval.index.path_pattern import PathPattern

RANGE = 8
"""So many folders, one after another, are named by the first and the last."""
MOST_TERMS = 4000
"""Names of folders in a condition. More take longer than to compare the paths of a million rows."""


def condition_of(pattern: PathPattern, folders: Sequence[str]) -> str | None:
    """A condition that all names have which match, and perhaps others; None if none can match.

    `folders` are those of all names, as text, sorted.
    """
    found = [pattern.matches_in(name_from_text(folder)) for folder in folders]
    places = [place for place, matches in enumerate(found) if matches is not False]
    if not places:
        return None
    inside = _in_folders(places, folders)
    if inside and all(found[place] for place in places):
        return inside
    some = [inside] if inside and len(places) < len(folders) else []
    return " AND ".join([*some, where_path(pattern)])


def _in_folders(places: Sequence[int], folders: Sequence[str]) -> str | None:
    """A condition for the folders at these places, in order; None if it were too long."""
    names, ranges = list[str](), list[str]()
    for _, group in groupby(enumerate(places), lambda pair: pair[1] - pair[0]):
        run = [_quoted(folders[place]) for _, place in group]
        if len(run) < RANGE:
            names += run
        else:
            ranges.append(f"(folder >= {run[0]} AND folder <= {run[-1]})")
    if len(names) + RANGE * len(ranges) > MOST_TERMS:
        return None
    alternatives = [f"folder IN ({', '.join(names)})"] if names else []
    return f"({' OR '.join([*alternatives, *ranges])})"


def where_path(pattern: PathPattern) -> str:
    """A condition in SQL that all names have which match, and perhaps others."""
    literals = [name_as_like(literal) for literal in pattern.literals]
    return f"path LIKE '{'%'.join(literals)}'"


def name_as_like(literal: str) -> str:
    """Text of a name as it is in a pattern of LIKE."""
    text = name_as_text(literal)
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "''")


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
