"""The primary picture of a HEIC or HEIF file."""

import os
from typing import Any

import _pi_heif
from PIL import ImageFile

EIGHT_BITS, BGR, NO_STRIDE, SIXTEEN_BITS, NO_LIMITS = True, False, False, False, False
"""What `load_file` is asked for; the limits of libheif stay as they are."""


class PrimaryPicture(ImageFile.ImageFile):
    """Pixels alone, turned upright by libheif, without metadata.

    pi-heif's own reader asks for all metadata first; damaged ones end the process there.
    """

    format = "HEIF"
    _picture: Any = None

    def _open(self) -> None:
        assert self.fp is not None
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
        pictures = _pi_heif.load_file(
            self.fp.read(), threads, EIGHT_BITS, BGR, NO_STRIDE, SIXTEEN_BITS, "", NO_LIMITS
        )
        there = [picture for picture in pictures if picture is not None]
        self._picture = next((picture for picture in there if picture.primary), there[0])
        self._size, self._mode = self._picture.size_mode
        self.tile = []

    def load(self) -> Any:  # noqa: ANN401, D102
        if self._picture is not None:
            picture, self._picture = self._picture, None
            data = picture.data
            self._size = picture.size_mode[0]  # which decoding may change
            self.load_prepare()
            self.frombytes(data, "raw", (self._mode, picture.stride))
        return super().load()
