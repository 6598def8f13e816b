"""Views of a photo to train an encoder on: its whole or a part, mirrored or not.

Letters: H height, W width.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from mrnn.data.images import load_image
from mrnn.shapes import UInt8

LEAST_AREA, WIDEST = 0.5, 4 / 3
"""Of a part: the smallest fraction of a photo, and the largest change of its shape."""


def view_of(
    path: Path | str, side: int, view: int = 0, seed: int = 0
) -> UInt8[np.ndarray, "H W 3"]:
    """A square: view 0 is the whole photo, 1 its mirror image, others parts, mirrored or not."""
    photo = load_image(path, least_side=side)
    random = np.random.default_rng([seed, view])
    box, mirrored = (0.0, 0.0, float(photo.width), float(photo.height)), view == 1
    if view > 1:
        box, mirrored = _crop(photo.width, photo.height, random), random.random() < 0.5
    square = np.asarray(photo.resize((side, side), Image.Resampling.BICUBIC, box))
    return np.ascontiguousarray(square[:, ::-1]) if mirrored else square


def _crop(
    width: int, height: int, random: np.random.Generator
) -> tuple[float, float, float, float]:
    area, bound = random.uniform(LEAST_AREA, 1), math.log(WIDEST)
    shape = math.exp(random.uniform(-bound, bound))
    across, down = min(1.0, math.sqrt(area * shape)), min(1.0, math.sqrt(area / shape))
    left, top = random.uniform(0, 1 - across), random.uniform(0, 1 - down)
    return left * width, top * height, (left + across) * width, (top + down) * height
