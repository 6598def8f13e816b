"""Lists of photos: a path or URL a line, or `metadata.jsonl` as Hugging Face's folders have it."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from mrnn.data.shards.locations import is_url, read_location, shown
from mrnn.data.shards.photo import MAX_BYTES, ShardPhoto, photo_suffix
from mrnn.errors import DataError, MRNNError
from mrnn.files import parse_json

METADATA = "metadata.jsonl"
LARGEST_LIST = 10_000_000_000
"""In bytes."""

Entry = tuple[str, str]
"""Key and location of a photo."""


def read_list(location: str) -> list[Entry]:
    """The photos that the lines name; paths are relative to the working folder."""
    return [(line, line) for _, line in _lines(location)]


def read_metadata(location: str) -> list[Entry]:
    """The photos of `metadata.jsonl`, which names them relative to its folder."""
    folder = location.rpartition("/")[0] if is_url(location) else os.path.dirname(location)
    entries = []
    for number, line in _lines(location):
        where = f"{shown(location)}:{number}"
        row: Any = parse_json(line, where)
        name = row.get("file_name") if isinstance(row, dict) else None
        if not (isinstance(name, str) and name):
            raise DataError(f'{where}: no "file_name", which names a photo in this folder')
        entries.append((name, name if is_url(name) else os.path.join(folder, name)))
    return entries


def read_photos(entries: Sequence[Entry]) -> Iterator[ShardPhoto]:
    """The photos of a list."""
    for key, location in entries:
        try:
            content = read_location(location, MAX_BYTES)
        except MRNNError as error:
            yield ShardPhoto(key, error=str(error).removeprefix(f"{shown(location)}: "))
        else:
            yield ShardPhoto(key, content, photo_suffix(location))


def _lines(location: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    content = read_location(location, LARGEST_LIST)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{shown(location)}:{number}: not UTF-8; save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.removesuffix("\r"):
            yield number, line
