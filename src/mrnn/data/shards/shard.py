"""Shards from what a user names: tars, Parquet files, lists of photos, globs and URLs of them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal
from zlib import crc32

from mrnn.data.shards.lists import METADATA, Entry, read_list, read_metadata, read_photos
from mrnn.data.shards.locations import base_name, expand, is_url, open_location, shown, stamp_of
from mrnn.data.shards.photo import ShardPhoto
from mrnn.data.shards.tar import read_tar
from mrnn.errors import DataError, MissingExtraError, OptionsError, printable

PHOTOS = 1000
"""A list becomes shards of so many photos."""

Part = tuple[int, int]
"""Which part of the shards, from 1, and of how many parts."""


@dataclass(frozen=True)
class Shard:
    """Photos that are done together."""

    name: str
    """Of what is made of it."""
    location: str
    kind: Literal["tar", "parquet", "list"]
    entries: tuple[Entry, ...] = ()
    """Of a list."""

    def stamp(self) -> str:
        """What tells it from another shard of its name. Raises DataError."""
        if self.kind != "list":
            return stamp_of(self.location)
        names = "\n".join(key for key, _ in self.entries)
        return f"{len(self.entries)}-{crc32(names.encode(errors='surrogateescape')):08x}"

    def photos(self, on_problem: Callable[[str], None]) -> Iterator[ShardPhoto]:
        """Its photos, each key once. Raises DataError where the file is damaged.

        `on_problem` gets a line for each photo whose key another had before.
        """
        seen = set()
        for photo in self._read():
            if photo.key in seen:
                on_problem(
                    f"{shown(self.location)}: two photos have the key {printable(photo.key):.100}; "
                    "the first is taken"
                )
            else:
                seen.add(photo.key)
                yield photo

    def _read(self) -> Iterator[ShardPhoto]:
        name = shown(self.location)
        if self.kind == "list":
            yield from read_photos(self.entries)
            return
        with open_location(self.location) as stream:
            if self.kind == "tar":
                yield from read_tar(stream, name)
            else:
                needs_pyarrow()
                from mrnn.data.shards.parquet import read_parquet

                yield from read_parquet(stream, name)


def needs_pyarrow() -> None:
    """Raises MissingExtraError where Parquet files cannot be read or written."""
    if find_spec("pyarrow") is None:
        raise MissingExtraError("Parquet files need pyarrow. Run: pip install 'mrnn[scale]'")


def is_shard(location: str) -> bool:
    """Whether a name is that of a tar or Parquet file, or a pattern of such names."""
    return _suffix(location) in (".tar", ".parquet")


def is_list(location: str) -> bool:
    """Whether a name is that of a list, which may also be a text beside a photo."""
    return base_name(location) == METADATA or _suffix(location) in (".txt", ".lst")


def _suffix(location: str) -> str:
    return os.path.splitext(base_name(location))[1].lower()


def find_shards(locations: Sequence[str]) -> list[Shard]:
    """The shards that these stand for, in order.

    A folder stands for the tars and Parquet files in it, or for its `metadata.jsonl`. Raises
    DataError where there is none, OptionsError where two have one name.
    """
    shards: dict[str, Shard] = {}
    if any(_suffix(given) == ".parquet" for given in locations):
        needs_pyarrow()
    for given in locations:
        found = [shard for location in _files_of(given) for shard in _shards_in(location)]
        if not found:
            raise DataError(f"{shown(given)}: no shard matches; make some with mrnn shard")
        for shard in found:
            other = shards.setdefault(shard.name, shard)
            if other.location != shard.location:
                raise OptionsError(
                    f"Two shards have the name {printable(shard.name)}: {shown(other.location)} "
                    f"and {shown(shard.location)}; give each its own --out"
                )
    return list(shards.values())


def _files_of(given: str) -> list[str]:
    if not os.path.isdir(given):
        return expand(given)
    try:
        names = sorted(os.listdir(given))
    except OSError as error:
        raise DataError(f"{shown(given)}: cannot be listed ({error.strerror})") from None
    names = [name for name in names if is_shard(name)] or [n for n in names if n == METADATA]
    if not names:
        raise DataError(
            f"{shown(given)}: holds no shards, which are *.tar, *.parquet or {METADATA}; make "
            "some with mrnn shard"
        )
    return [os.path.join(given, name) for name in names]


def _shards_in(location: str) -> Iterator[Shard]:
    name = base_name(location)
    if not (is_shard(location) or is_list(location)):
        raise DataError(
            f"{shown(location)}: not a shard; expected .tar, .parquet, {METADATA}, or a list of "
            "photos in .txt or .lst"
        )
    stem = os.path.splitext(name)[0]
    if is_shard(location):
        yield Shard(stem, location, "tar" if _suffix(location) == ".tar" else "parquet")
        return
    entries = read_metadata(location) if name == METADATA else read_list(location)
    if name == METADATA:
        folder = location if is_url(location) else os.path.abspath(location)
        stem = base_name(folder.removesuffix(METADATA))
    if not entries:
        raise DataError(f"{shown(location)}: names no photo; expected one a line")
    for number in range(0, len(entries), PHOTOS):
        part = tuple(entries[number : number + PHOTOS])
        yield Shard(f"{stem}-{number // PHOTOS:06}", location, "list", part)


def part_of(shards: list[Shard], part: Part) -> list[Shard]:
    """Every so manieth shard."""
    return shards[part[0] - 1 :: part[1]]
