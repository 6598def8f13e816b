"""Tar shards as webdataset has them: KEY.jpg, and KEY.txt or KEY.json beside it.

A key is the path in the archive up to the first dot of its last part.
"""

import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO

from mrnn.data.shards.photo import MAX_BYTES, ShardPhoto, Stream, photo_suffix
from mrnn.errors import DataError, printable

MEMBER = re.compile(r"(?:\./)*((?:.*/)?[^./][^./]*)(\.[^/]*)", re.DOTALL)
"""Key and fields of a file in a shard; hidden files have none."""
NOT_IN_KEYS = re.compile(r"[\x00-\x1f\x7f%\udc80-\udcff]|\.(?=[^/]*$)|(?<![^/])\.+(?![^/])|^/+")
"""What a key may not hold: a dot in its last part, parts of dots alone, % and control characters,
bytes that are no UTF-8, a slash at the beginning."""


def read_tar(stream: Stream, name: str) -> Iterator[ShardPhoto]:
    """The photos of a tar shard, in its order; other files are passed over.

    Raises DataError, after the photos before it, where the file is cut short or no tar.
    """
    read, followed = 0, _Followed(stream)
    try:
        with tarfile.open(fileobj=followed, mode="r|") as archive:  # type: ignore[call-overload]
            for member in archive:
                if photo := _photo_of(archive, member):
                    read += 1
                    yield photo
        followed.check_end()
    except (tarfile.TarError, EOFError, zlib.error, OverflowError, ValueError) as error:
        if not read and isinstance(error, tarfile.ReadError):
            problem = f"no tar file ({printable(error)}); make shards with mrnn shard"
        else:
            problem = f"damaged or cut short after {read:,} photos; copy it again"
        raise DataError(f"{name}: {problem}") from error


class _Followed:
    """A stream of which the last block is remembered: tarfile does not miss the end of a file."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._last = stream, b""

    def read(self, size: int) -> bytes:
        """The next bytes."""
        content = self._stream.read(size)
        self._last = (self._last + content)[-tarfile.BLOCKSIZE :]
        return content

    def check_end(self) -> None:
        """Raises ReadError where the file does not end with a block of zeros."""
        while self.read(tarfile.RECORDSIZE):
            pass
        if self._last.strip(b"\0"):
            raise tarfile.ReadError("no end of archive")


def _photo_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> ShardPhoto | None:
    parts = MEMBER.fullmatch(member.name)
    if not (parts and member.isfile() and "." not in parts[2][1:]):
        return None
    suffix = photo_suffix(f"x{parts[2]}")
    if not suffix:
        return None
    if member.size > MAX_BYTES:
        return ShardPhoto(parts[1], error=f"larger than {MAX_BYTES:,} bytes; make a smaller copy")
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return ShardPhoto(parts[1], content, suffix)


def tar_key(path: str) -> str:
    """The key of a path without its suffix; no two paths have one key.

    What a key may not hold becomes %XX, as in a URL.
    """
    return NOT_IN_KEYS.sub(_percent, path)


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogateescape"))


def add_to_tar(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file; the same name and content give the same bytes, on any machine at any time."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def new_tar(stream: IO[bytes]) -> tarfile.TarFile:
    """An archive to be written."""
    return tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8")
