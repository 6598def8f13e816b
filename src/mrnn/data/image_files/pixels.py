"""Pixels of any kind to 8-bit RGB: greys of 16 and 32 bits, floats, transparency, orientation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mrnn.errors import ImageError

BAND = 4_000_000
"""Pixels that are converted at once, where a step needs memory of its own."""

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF orientation."""


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image as RGB, transparency on white; the image itself if it is RGB already.

    Greys of 16 bits count as 0..65535. Those of 32 bits within 0..255 count as they are, and
    floats within 0..1 as 0..1; all others from their lowest to their highest value.
    """
    if image.mode[0] in "IF":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; itself if that says nothing that makes sense."""
    try:
        orientation: Any = getattr(image, "orientation", None)  # of a TIFF
        if orientation is None:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        method = UPRIGHT.get(orientation)
    except Exception:  # a photo with a broken EXIF block is still a photo
        method = None
    return image if method is None else image.transpose(method)


def image_of(array: NDArray[Any], name: str) -> Image.Image:
    """An 8-bit image; 16-bit values are divided by 256."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or (array.ndim == 3 and channels not in (3, 4)) or not array.size:
        expected = "expected H x W, H x W x 3 or H x W x 4"
        raise ImageError(f"{name}: shape {array.shape}; {expected}")
    if array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            span = f"{array.min():g}..{array.max():g}"
            raise ImageError(f"{name}: float values in {span}; scale them to 0..1")
        array = array.astype(np.float32) * 255 + 0.5
    elif array.dtype == np.uint16:
        array = array // 256
    elif array.dtype != np.uint8:
        expected = "expected uint8, uint16, or float in 0..1"
        raise ImageError(f"{name}: values of type {array.dtype}; {expected}")
    return Image.fromarray(np.ascontiguousarray(array, dtype=np.uint8))


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The row where each band begins, and its pixels; a small image is one band."""
    rows = max(1, BAND // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    for top, band in _bands(image):
        opaque = band.convert("RGBA")
        white.paste(opaque, (0, top), mask=opaque)
    return white


def _to_8_bit(image: Image.Image) -> Image.Image:
    low, high = (0.0, 65535.0) if _is_16_bit(image) else _range_of(image)
    grey = np.empty((image.height, image.width), np.uint8)
    seen = np.full_like(grey, 255) if "transparency" in image.info else None
    for top, band in _bands(image):
        values = _values_of(band, image)
        if seen is not None:
            seen[top : top + band.height][values == image.info["transparency"]] = 0
        if high == 65535 and values.dtype.kind != "f":
            values = np.clip(values, 0, 65535) // 256
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = (values.astype(np.float64) - low) / ((high - low) or 1) * 255
            values = np.clip(np.nan_to_num(scaled, nan=0, posinf=255, neginf=0), 0, 255) + 0.5
        grey[top : top + band.height] = values
    eight = Image.fromarray(~grey if getattr(image, "has_white_zero", False) else grey)
    if seen is not None:
        eight.putalpha(Image.fromarray(seen))
    return eight


def _is_16_bit(image: Image.Image) -> bool:
    """Pillow gives 16-bit greys of PPM, and in old versions of PNG, as 32-bit ones."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _values_of(band: Image.Image, image: Image.Image) -> NDArray[Any]:
    values = np.asarray(band)
    unsigned = getattr(image, "has_unsigned_values", False)
    return values.view(np.uint32) if unsigned and values.dtype == np.int32 else values


def _range_of(image: Image.Image) -> tuple[float, float]:
    """What becomes black and white; of floats, by those that are finite."""
    low, high = np.inf, -np.inf
    for _, band in _bands(image):
        values = _values_of(band, image)
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise ImageError("none of its values is a finite number; save it again")
    most = 1.0 if image.mode == "F" else 255.0
    return (0.0, most) if low >= 0 and high <= most else (low, high)
