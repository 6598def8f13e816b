"""The first page of a TIFF file."""

import ctypes
from contextlib import suppress

from PIL import TiffImagePlugin, _imaging

from mrnn.errors import ImageError

MAX_PARTS = 1_000_000
"""Strips or tiles of a page; each costs memory and time, whatever it holds."""

MAX_RAW_PARTS = 100_000
"""Those of a page without compression, which Pillow reads one by one in Python."""

MAX_TILE = 100_000_000
"""Pixels of a tile, which may be larger than the page."""

_COMPRESSION, _RAW, _PARTS, _TILE = 259, 1, (273, 324), (322, 323)
_PHOTOMETRIC, _SAMPLE_FORMAT, _UNSIGNED = 262, 339, 1
_SUBFILE, _MAKE, _ORIENTATION, _SUB_IFDS, _DNG_VERSION = 254, 271, 274, 330, 50706


class FirstPage(TiffImagePlugin.TiffImageFile):
    """Pillow's reader, for one page and with bounds; the photo is not turned upright."""

    def _setup(self) -> None:
        _silence_libtiff()
        tags = self.tag_v2
        most = MAX_RAW_PARTS if tags.get(_COMPRESSION, _RAW) == _RAW else MAX_PARTS
        if max(self._bytes_of(part) for part in _PARTS) > 4 * most:
            raise ImageError(f"a TIFF of more than {most:,} strips or tiles; save it again")
        width, height = (tags.get(side, 0) for side in _TILE)
        if not (isinstance(width, int) and isinstance(height, int) and width * height <= MAX_TILE):
            raise ImageError(f"a TIFF with tiles of {width} x {height} pixels; save it again")
        if tags.get(_SUBFILE) == 1 and (_SUB_IFDS in tags or _DNG_VERSION in tags):
            make = str(tags.get(_MAKE, "")).strip("\0 ")[:40] or "DNG"
            raise ImageError(f"a camera's raw photo ({make}); export it as JPEG or PNG")
        if (compression := tags.get(_COMPRESSION, _RAW)) not in TiffImagePlugin.COMPRESSION_INFO:
            raise ImageError(f"a TIFF of compression {compression}, which is not read; save it raw")
        super()._setup()

    def _bytes_of(self, tag: int) -> int:
        return len(self.tag_v2._tagdata.get(tag, b""))

    def load_end(self) -> None:
        """Pillow turns the photo here, by tags any of which may be damaged."""
        self._size = self.im.size

    @property
    def orientation(self) -> object:
        """The value of its EXIF tag, None if it has none."""
        return self.tag_v2.get(_ORIENTATION)

    @property
    def has_white_zero(self) -> bool:
        """Whether 0 is white; Pillow turns that round in greys of 8 bits alone."""
        return self.tag_v2.get(_PHOTOMETRIC) == 0

    @property
    def has_unsigned_values(self) -> bool:
        """Whether its values are whole numbers from 0; Pillow has 32-bit ones with a sign."""
        kinds = self.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        return kinds in ((_UNSIGNED,), _UNSIGNED)


def _silence_libtiff() -> None:
    """Errors reach us as exceptions; libtiff would write them to stderr too."""
    with suppress(OSError, AttributeError):  # a Pillow that hides the functions of libtiff
        library = ctypes.CDLL(_imaging.__file__)
        for kind in ("Error", "Warning"):
            silence = getattr(library, f"TIFFSet{kind}Handler")
            silence.argtypes, silence.restype = [ctypes.c_void_p], ctypes.c_void_p
            silence(None)
