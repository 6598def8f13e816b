"""Photos inside a table, as Hugging Face's datasets hold them, written into a folder once.

A cell is {"bytes": ..., "path": ...}, or the bytes alone. Without a name a photo is named after its
content, so the same photo in several rows is one file. No other file is ever replaced.
"""

import hashlib
from pathlib import Path

from mrnn.data.name_matching import plain_name
from mrnn.data.readers.columns import Row
from mrnn.errors import DataError, printable
from mrnn.outputs import write_whole

NAME_COLUMNS = ("file_name", "filename", "image_name", "image_id")
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}


def is_embedded(cell: object) -> bool:
    """Whether a cell is a photo, or the path of one as such cells have it."""
    return isinstance(cell, bytes) or (isinstance(cell, dict) and bool({"bytes", "path"} & {*cell}))


class Unpacker:
    """Writes the photos of cells into a folder, which is made if need be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.written = 0

    def name_of(self, cell: object, row: Row, where: str) -> str:
        """The name of the photo, which is in the folder then if the cell holds it.

        Raises DataError for a cell without a photo, and where the folder cannot be written.
        """
        content, path = cell, None
        if isinstance(cell, dict):
            content, path = cell.get("bytes"), cell.get("path")
        if not content:
            if not (isinstance(path, str) and path.strip()):
                raise DataError(f"{where}: holds no photo, neither bytes nor a path")
            return path.strip()
        if not isinstance(content, bytes):
            raise DataError(f"{where}: expected the bytes of a photo, not {type(content).__name__}")
        suffix = next((end for mark, end in _SUFFIXES.items() if content.startswith(mark)), ".jpg")
        own = hashlib.sha256(content).hexdigest()[:16] + suffix
        name = _safe_name(path, row, suffix) or own
        try:
            if not self._write(name, content):
                name = own
                self._write(own, content)
        except OSError as error:
            problem = f"the photo {name} cannot be written to {self._folder} ({error.strerror})"
            raise DataError(f"{where}: {problem}") from None
        return name

    def _write(self, name: str, content: bytes) -> bool:
        """Whether the file is there with that content."""
        file = self._folder / name
        if file.exists():
            same = file.is_file() and file.stat().st_size == len(content)
            return same and file.read_bytes() == content
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
        self.written += 1
        return True


def _safe_name(path: object, row: Row, suffix: str) -> str:
    """The name that the table gives the photo, within the folder; empty if there is none."""
    found = path if path else next((row[key] for key in NAME_COLUMNS if row.get(key)), None)
    if isinstance(found, int):
        return f"{found}{suffix}"
    name = plain_name(found.strip()) if isinstance(found, str) else ""
    if name.startswith("/") or ":" in name or ".." in name.split("/"):
        name = name.rpartition("/")[2]
    fits = all(len(part.encode(errors="replace")) < 200 for part in name.split("/"))
    return name if fits and printable(name) == name and name not in ("", "..") else ""
