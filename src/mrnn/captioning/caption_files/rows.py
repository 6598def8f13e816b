"""Rows of a file of captions in JSON lines: whole results, or an image folder's metadata.jsonl."""

import codecs
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from mrnn.captioning.results import ImageCaptions
from mrnn.data.photos.names import name_as_text, name_from_text
from mrnn.errors import OptionsError


@dataclass(frozen=True)
class Row:
    """A row of a file of captions."""

    photo: str
    """Its path, as it was given."""
    line: int
    rank: int
    """1 for a row with the first caption, or with all; 0 for a photo that failed."""
    captions: int
    content: bytes


class RowError(Exception):
    """A line that `mrnn caption` did not write, and that no interruption left."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@runtime_checkable
class Form(Protocol):
    """How captions are written to a file that grows, and read again."""

    start: bytes
    """What a file begins with, before its rows."""

    def read(self, content: bytes) -> list[Row]:
        """The rows, but for a last one that was cut. Raises RowError.

        What is written from now on is as what was read: with its separators and ends of lines.
        """

    def lines(self, result: ImageCaptions) -> bytes:
        """A photo's rows; nothing if the form has none for it."""


class JsonLines:
    """A result a line."""

    def __init__(self) -> None:
        self.start, self._end = b"", b"\n"

    def read(self, content: bytes) -> list[Row]:
        """See `Form`."""
        self.start, self._end = _start_and_end(content)
        return _rows(content, self.start, self._end, b'{"image":', _result_row)

    def lines(self, result: ImageCaptions) -> bytes:
        """See `Form`."""
        return result.model_dump_json().encode() + self._end


class ImageFolder:
    """Lines as Hugging Face's imagefolder reads them: file_name below the file's folder, and text.

    Photos that failed have none. `text_of` gives what is written of a result.
    """

    def __init__(self, folder: Path, text_of: Callable[[ImageCaptions], str]) -> None:
        self.start, self._end = b"", b"\n"
        self._folder, self._text_of = folder, text_of

    def read(self, content: bytes) -> list[Row]:
        """See `Form`."""
        self.start, self._end = _start_and_end(content)
        return _rows(content, self.start, self._end, b'{"file_name":', self._row)

    def lines(self, result: ImageCaptions) -> bytes:
        """See `Form`. Raises OptionsError for a photo outside the folder."""
        if result.error:
            return b""
        name = name_as_text(self.file_name(name_from_text(result.image)))
        line = json.dumps({"file_name": name, "text": self._text_of(result)}, ensure_ascii=False)
        return line.encode() + self._end

    def file_name(self, photo: str) -> str:
        """A photo's path from the folder. Raises OptionsError for one that is outside."""
        folder, base = os.path.split(os.path.abspath(photo))
        for place in (os.path.join(folder, base), os.path.join(os.path.realpath(folder), base)):
            for root in (os.path.abspath(self._folder), os.path.realpath(self._folder)):
                if place.startswith(os.path.join(root, "")):
                    return os.path.relpath(place, root).replace(os.sep, "/")
        raise OptionsError(
            f"--out metadata.jsonl: {photo} is not below {self._folder}; an image folder has its "
            "photos below that file"
        )

    def _row(self, line: bytes, number: int) -> Row:
        content = json.loads(line)
        if not isinstance(content, dict) or sorted(content) != ["file_name", "text"]:
            raise ValueError("other keys")
        if not all(isinstance(value, str) for value in content.values()):
            raise TypeError("no text")
        photo = os.path.join(self._folder, name_from_text(content["file_name"]))
        return Row(photo, number, 1, 1, line)


def _result_row(line: bytes, number: int) -> Row:
    result = ImageCaptions.model_validate_json(line)
    if result.error is None and not result.captions:
        raise ValueError("neither captions nor an error")
    rank = 0 if result.error is not None else 1
    return Row(name_from_text(result.image), number, rank, len(result.captions), line)


def _start_and_end(content: bytes) -> tuple[bytes, bytes]:
    """The byte order mark, if there is one, and what ends a line."""
    start = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    return start, b"\r\n" if content.partition(b"\n")[0].endswith(b"\r") else b"\n"


def _rows(
    content: bytes, start: bytes, end: bytes, key: bytes, row: Callable[[bytes, int], Row]
) -> list[Row]:
    *lines, last = content[len(start) :].split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(row(line + b"\n", number))
            except (ValueError, TypeError, RecursionError):
                raise RowError(number, "not a line that mrnn caption writes") from None
    if last:
        try:
            rows.append(row(last + end, len(lines) + 1))  # whole, but for the end of its line
        except (ValueError, TypeError, RecursionError):
            if not key.startswith(last[: len(key)]):
                raise RowError(len(lines) + 1, "not a line that mrnn caption writes") from None
    return rows
