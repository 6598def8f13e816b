"""A photo in a shard."""

import os
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mrnn.data.images import SUFFIXES, UNREAD

MAX_BYTES = 1_000_000_000
"""A larger file is no photo, and would fill the memory."""
MAGIC = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp",
    b"II*\0": ".tif", b"MM\0*": ".tif", b"P4": ".pbm", b"P5": ".pgm", b"P6": ".ppm",
}  # fmt: skip


ONE_NAME = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".mpo": ".jpg", ".tiff": ".tif"}
"""Suffixes that mean the same: readers of shards want one for each kind of photo."""


@runtime_checkable
class Stream(Protocol):
    """An open file, of whatever kind, that can be read forwards."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, or all."""
        ...

    def seekable(self) -> bool:
        """Whether it can go back."""
        ...


@dataclass(frozen=True)
class ShardPhoto:
    """A photo as its file holds it, or why it cannot be had."""

    key: str
    """Its name, unique in the shard."""
    content: bytes = b""
    suffix: str = ""
    """What the name of its file ends with, in its usual form; "" where it has no name."""
    error: str = ""
    """Without a name in front; "" if there is none."""

    @property
    def file_suffix(self) -> str:
        """What the name of a file of it ends with; .bin for content that is no known photo."""
        kinds = (suffix for magic, suffix in MAGIC.items() if self.content.startswith(magic))
        return self.suffix or next(kinds, ".bin")


def photo_suffix(name: str) -> str:
    """What the name of a photo ends with, in its usual form; "" for what is no photo's name."""
    suffix = os.path.splitext(name)[1].lower()
    return ONE_NAME.get(suffix, suffix) if suffix in (*SUFFIXES, *UNREAD) else ""
