"""Resize modes: an RGB photo to the squares that an image encoder takes.

Letters: C crops, H height, W width.
"""

import numpy as np
from PIL import Image

from mrnn.errors import ImageError
from mrnn.model.config import MARGIN, ResizeMode
from mrnn.shapes import UInt8

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

LARGEST = 25_000_000
"""Pixels of a photo that is made in between, before it is cropped."""


def crops_of(
    photo: Image.Image, size: int, resize_mode: ResizeMode, padding: Colour
) -> UInt8[np.ndarray, "C H W 3"]:
    """The squares of `size` pixels that the resize mode makes of an RGB photo.

    One for crop, squash and pad (with bars of the colour `padding`), two with -flip, and ten for
    ten-crop: four corners, the centre, and their mirror images. Raises ImageError if there is not
    enough memory.
    """
    try:
        return _crops_of(photo, size, resize_mode, padding)
    except MemoryError:
        shape = f"a photo of {photo.width} x {photo.height} pixels"
        problem = "too large for the memory that is free; make a smaller copy"
        raise ImageError(f"{shape}: {problem}") from None


def _crops_of(
    photo: Image.Image, size: int, resize_mode: ResizeMode, padding: Colour
) -> UInt8[np.ndarray, "C H W 3"]:
    mode, _, mirrored = resize_mode.partition("-")
    if mode == "ten":
        squares = _five_crops(photo, size)
    else:
        squares = [resize_to_square(photo, size, mode, padding)]
    crops = np.stack([np.asarray(square) for square in squares])
    return np.concatenate([crops, crops[:, :, ::-1]]) if mirrored else crops


def resize_to_square(photo: Image.Image, size: int, mode: str, padding: Colour) -> Image.Image:
    """The photo as one square, by bicubic resampling; `mode` is crop, squash or pad."""
    if mode == "crop":  # the centre, of size / (size + MARGIN) of the shorter side
        side = round(min(photo.size) * size / (size + MARGIN)) or 1
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, top, left + side, top + side))
    if mode == "pad":
        width, height = (max(1, round(size * side / max(photo.size))) for side in photo.size)
        square = Image.new("RGB", (size, size), padding)
        corner = (round((size - width) / 2), round((size - height) / 2))
        square.paste(photo.resize((width, height), Image.Resampling.BICUBIC), corner)
        return square
    return photo.resize((size, size), Image.Resampling.BICUBIC)


def _five_crops(photo: Image.Image, size: int) -> list[Image.Image]:
    """Corners and centre, after a resize of the shorter side to size + MARGIN.

    Source: Mao et al. 2015, appendix, after Krizhevsky et al. 2012: 224 of 256 pixels.
    """
    short = min(photo.size)
    width, height = (round(side * (size + MARGIN) / short) for side in photo.size)
    if width * height > LARGEST:
        return _five_crops_of_a_strip(photo, size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    corners = _corners(width - size, height - size)
    return [photo.crop((left, top, left + size, top + size)) for left, top in corners]


def _five_crops_of_a_strip(photo: Image.Image, size: int) -> list[Image.Image]:
    """The same of a photo so long that it would not fit into memory: each crop by itself."""
    side = min(photo.size) * size / (size + MARGIN)
    corners = _corners(photo.width - side, photo.height - side)
    boxes = [(left, top, left + side, top + side) for left, top in corners]
    return [photo.resize((size, size), Image.Resampling.BICUBIC, box) for box in boxes]


def _corners(right: int | float, below: int | float) -> list[tuple[int | float, int | float]]:
    """Left and top of five crops, the last of which is in the centre."""
    return [(0, 0), (right, 0), (0, below), (right, below), (right // 2, below // 2)]
