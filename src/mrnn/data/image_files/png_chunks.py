"""PNG files without what their pixels do not need.

Text, colour profiles and the like may be damaged, or huge once they are inflated, in a file whose
pixels are whole. So they are passed over, as viewers do, and never read.
"""

import io
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator

from mrnn.data.image_files.image_format import OpenFile

MAX_METADATA = 1_000_000
"""Bytes of a chunk with the orientation, as it stands in the file and inflated."""

_ORIENTATION = (b"eXIf", b"iTXtXML:com.adobe.xmp\0\0", b"tEXtRaw profile type exif\0")
_COMPRESSED_ORIENTATION = b"zTXtRaw profile type exif\0\0"


class PixelChunks(io.RawIOBase):
    """A PNG file that reads as if it held the chunks alone that make its pixels and turn it."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._places = array("Q")  # where each span begins in the file,
        self._starts = array("Q", [0])  # and in what is read; and last, the length of that
        for place, length in _needed(file):
            if self._places and self._places[-1] + self._length_of(-1) == place:
                self._starts[-1] += length
            else:
                self._places.append(place)
                self._starts.append(self._starts[-1] + length)
        self._at = 0

    def _length_of(self, span: int) -> int:
        return self._starts[span % len(self._places) + 1] - self._starts[span % len(self._places)]

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        self._at = max(0, offset + (0, self._at, self._starts[-1])[whence])
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # noqa: D102
        if self._at >= self._starts[-1]:
            return 0
        span = bisect_right(self._starts, self._at) - 1
        self._file.seek(self._places[span] + self._at - self._starts[span])
        data = self._file.read(min(len(buffer), self._starts[span + 1] - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _needed(file: OpenFile) -> Iterator[tuple[int, int]]:
    """Place and length of the signature and of each chunk that is needed, whole or not."""
    end = file.seek(0, io.SEEK_END)
    yield 0, 8
    place = 8
    while place < end:
        file.seek(place)
        header = file.read(8)
        length, kind = int.from_bytes(header[:4], "big"), header[4:]
        if not (kind.isalpha() and len(kind) == 4):  # damaged: for Pillow to judge
            yield place, end - place
            return
        ancillary = kind[0] & 0x20
        if not ancillary or (length <= MAX_METADATA and _is_kept(kind, file.read(length + 4))):
            yield place, min(12 + length, end - place)
        if kind == b"IEND":
            return
        place += 12 + length


def _is_kept(kind: bytes, content: bytes) -> bool:
    data, check = content[:-4], content[-4:]
    named = kind + data[: len(_COMPRESSED_ORIENTATION)]
    if named.startswith(_COMPRESSED_ORIENTATION):
        inflated = zlib.decompressobj()
        try:
            inflated.decompress(data[len(_COMPRESSED_ORIENTATION) - 4 :], MAX_METADATA)
        except zlib.error:
            return False
        if inflated.unconsumed_tail:
            return False
    elif kind != b"tRNS" and not named.startswith(_ORIENTATION):
        return False
    return zlib.crc32(kind + data).to_bytes(4, "big") == check
