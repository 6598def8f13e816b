"""JPEG files of several scans: progressive ones, and those with a scan for each component.

libjpeg holds all coefficients of such a photo, whatever the size that it is decoded to, and goes
over all of it for each scan, however few bytes that has. So both have bounds.
"""

import re
from typing import Any

from PIL import Image

from mrnn.data.image_files.image_format import OpenFile
from mrnn.errors import ImageError

MAX_SCANS = 100
"""Photos have 10 or so; the largest ones may have 20."""

MAX_COEFFICIENTS = 400_000_000
"""Of two bytes each: 266 megapixels with halved colours, 133 with whole ones."""

_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # neither data nor a restart
_START, _END = 0xDA, 0xD9


def check_scans(image: Image.Image, file: OpenFile) -> None:
    """Raises ImageError for what would take too long or too much memory.

    `image` is opened by Pillow, which leaves `file` at the data of the first scan.
    """
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    if not (image.info.get("progressive") or _components_before(file) != len(layers)):
        return
    most = max(h * v for _, h, v, _ in layers)
    coefficients = image.width * image.height * sum(h * v for _, h, v, _ in layers) // most
    if coefficients > MAX_COEFFICIENTS:
        raise ImageError(
            f"too large for a progressive JPEG ({image.width} x {image.height} pixels); "
            "save it as a baseline JPEG, or smaller"
        )
    scans = _scans_from(file)
    if scans > MAX_SCANS or scans * coefficients > 20 * MAX_COEFFICIENTS:
        raise ImageError(f"a JPEG of {min(scans, MAX_SCANS)} scans or more; save it again")


def _components_before(file: OpenFile) -> int:
    """The components of the scan whose header ends where the file stands; 0 if unknown."""
    place = file.tell()
    file.seek(max(0, place - 16))
    before = file.read(place - file.tell())
    for components in range(1, 5):
        header = before[-(8 + 2 * components) :]
        if header[:2] == b"\xff\xda" and header[4:5] == bytes([components]):
            return components
    return 0


def _scans_from(file: OpenFile) -> int:
    """The scans up to the end of the image, with the one whose data begin here."""
    place = file.tell()
    data = file.read()
    file.seek(place)
    scans, at = 1, 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, at)):
        at = marker.end()
        kind = data[at - 1]
        if kind == _END:
            break
        scans += kind == _START
        at += int.from_bytes(data[at : at + 2], "big")
    return scans


def reduce_jpeg(image: Any, least_side: int | None, most_pixels: int) -> None:  # noqa: ANN401
    """Sets how much smaller a JPEG is decoded: by 1, 2, 4 or 8.

    Its shorter side stays at least `least_side`, but for a photo of more than `most_pixels`.
    """
    width, height = image.size
    scale = min(width // least_side, height // least_side) if least_side else 1
    scale = max(by for by in (1, 2, 4, 8) if by <= max(1, scale))
    while scale < 8 and width * height > most_pixels * scale**2:
        scale *= 2
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))
