"""Columns of tables and of objects: what they are called, and what is in a cell."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrnn.errors import DataError, shortened

Row = Mapping[str, Any]
"""Cells by the names of their columns."""

IMAGE_COLUMNS = (
    *("image", "image_name", "image_id", "file_name", "filename", "file", "filepath", "file_path"),
    *("image_path", "image_file", "img", "photo", "path"),
)
CAPTION_COLUMNS = (
    *("caption", "captions", "comment", "text", "sentence", "sentences", "description", "raw"),
)


def column_of(row: Row, known: Sequence[str], what: str, *, where: str, mend: str = "") -> str:
    """The column of a row for something: `known[0]`, or the only one that is in `known`.

    Raises DataError where there is none, or several; `mend` is what helps.
    """
    if known[0] in row:
        return known[0]
    found = [name for name in row if name.strip().lower() in known]
    if "filename" in found and "filepath" in found:  # Karpathy's: the file's name and its folder
        found.remove("filepath")
    if len(found) == 1:
        return found[0]
    if found:
        both = shortened(" and ".join(found[:2]), 80)
        raise DataError(f"{where}: both {both} may hold the {what}{mend or '; keep one'}")
    there = shortened(", ".join(row), 120)
    raise DataError(
        f"{where}: no {what}; expected {known[0]} or the like, but there are: {there}{mend}"
    )


def cell_at(where: str, column: str) -> str:
    """The place of a cell in a message: t.csv:3: caption, or t.json: [3].caption."""
    return f"{where}{'.' if where.endswith(']') else ': '}{column:.80}"


def image_id(value: object) -> str:
    """An id as text: 391895, 391895.0 and "391895.0" are one. Raises ValueError."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not (isinstance(value, str) and value.strip()):
        raise ValueError(f"expected a whole number or a name, not {shown(value)}")
    name = value.strip()
    number, point, zeros = name.partition(".")
    return number if point and number.isdecimal() and zeros and not zeros.strip("0") else name


def captions_in(cell: object, where: str) -> list[str]:
    """A caption, or a list of captions, each as text or as an object that holds it."""
    if isinstance(cell, str):
        return _listed(cell) or [cell]
    texts = []
    for each in cell if isinstance(cell, list) else [cell]:
        text = each
        if isinstance(each, dict):
            text = next((each[name] for name in CAPTION_COLUMNS if name in each), each)
        if not isinstance(text, str):
            raise DataError(f"{where}: expected a caption, not {shown(text)}")
        texts.append(text)
    return texts


def _listed(cell: str) -> list[str]:
    """The captions of a cell that is a list of texts in JSON; none of any other."""
    if not (cell.startswith('["') and cell.endswith('"]')):
        return []
    try:
        content = json.loads(cell)
    except (ValueError, RecursionError):
        return []
    return content if all(isinstance(each, str) for each in content) else []


def shown(value: object) -> str:
    """A value in a message: as JSON writes it, and short."""
    if isinstance(value, str):
        return shortened(json.dumps(value[:100], ensure_ascii=False), 60)
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value):,}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return shortened(repr(value), 60) if isinstance(value, int | float) else type(value).__name__
