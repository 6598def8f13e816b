"""How a photo becomes what a network sees: one square or several, whose features are averaged.

Letters: V views, H height, W width, C channels.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mrnn.model.config import MARGIN, Fit

Colour = tuple[int, int, int]


def views_of(photo: Image.Image, size: int, fit: Fit, bars: Colour) -> UInt8[np.ndarray, "V H W C"]:
    """The squares of `size` pixels that `fit` makes of an RGB photo; bars have the colour `bars`.

    crop, squash and pad make one, and with -flip its mirror image too; ten-crop makes ten.
    """
    way, _, mirrored = fit.partition("-")
    squares = _five_crops(photo, size) if way == "ten" else [fit_square(photo, size, way, bars)]
    views = np.stack([np.asarray(square) for square in squares])
    return np.concatenate([views, views[:, :, ::-1]]) if mirrored else views


def fit_square(photo: Image.Image, size: int, way: str, bars: Colour) -> Image.Image:
    """The photo as a square of `size` pixels, by bicubic sampling."""
    if way == "crop":  # the centre, of size / (size + MARGIN) of the shorter side
        side = round(min(photo.size) * size / (size + MARGIN)) or 1
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, top, left + side, top + side))
    if way == "pad":
        width, height = (max(1, round(size * side / max(photo.size))) for side in photo.size)
        square = Image.new("RGB", (size, size), bars)
        corner = (round((size - width) / 2), round((size - height) / 2))
        square.paste(photo.resize((width, height), Image.Resampling.BICUBIC), corner)
        return square
    return photo.resize((size, size), Image.Resampling.BICUBIC)


def _five_crops(photo: Image.Image, size: int) -> list[Image.Image]:
    """Corners and centre of the photo, its shorter side resized to size + MARGIN first.

    Source: Mao et al. 2015, appendix, after Krizhevsky et al. 2012: 224 of 256 pixels.
    """
    short = min(photo.size)
    width, height = (round(side * (size + MARGIN) / short) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    right, below = width - size, height - size
    corners = [(0, 0), (right, 0), (0, below), (right, below), (right // 2, below // 2)]
    return [photo.crop((left, top, left + size, top + size)) for left, top in corners]
