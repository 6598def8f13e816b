"""The first picture of an AVIF file."""

import io
import re

from PIL import AvifImagePlugin

_EXIF_ITEM = re.compile(rb"(infe[\2\3]...(?:....|......))Exif", re.DOTALL)


class FirstPicture(AvifImagePlugin.AvifImageFile):
    """Pillow's reader, without EXIF: the file says by other means how the photo is turned.

    With damaged EXIF, neither libavif nor Pillow would open the file.
    """

    def _open(self) -> None:
        assert self.fp is not None
        self.fp = io.BytesIO(_EXIF_ITEM.sub(rb"\1skip", self.fp.read()))
        super()._open()
