"""Photos: path, bytes, array or PIL image to RGB, whatever the file holds."""

import io
import re
import stat
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from mrnn.errors import ImageError


@dataclass(frozen=True)
class NamedImage:
    """The open file of an image, which needs no path, and its name for results and messages."""

    name: str
    file: io.IOBase


ImageSource = str | Path | bytes | np.ndarray | Image.Image | NamedImage

OpenFile = io.IOBase

MAX_PIXELS = 100_000_000

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Formats that Pillow may read (MPO as JPEG): raster formats, none that starts another program."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".gif", ".bmp"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)

UNREAD = (".heic", ".heif", ".avif", ".jxl")
"""Photos too: they are listed in a folder, so that `load_image` says how to convert them."""

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

_decoding = threading.Lock()  # warning filters belong to the whole process


def load_image(source: ImageSource, *, least_side: int | None = None) -> Image.Image:
    """The photo upright in RGB: transparency on white, the first frame of an animation.

    An array is H x W, H x W x 3 or H x W x 4: uint8, uint16, or float in 0..1. With `least_side`
    a JPEG may be decoded smaller, to save time; its shorter side stays at least that long.
    Raises ImageError, and nothing else, for a photo that cannot be read.
    """
    if isinstance(source, np.ndarray):
        return _decode(_image_of(source, "array"), "array", None)
    if isinstance(source, Image.Image):
        return _decode(source, printable(getattr(source, "filename", "") or "image"), None)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), "image bytes", least_side)
    if isinstance(source, NamedImage):
        return _decode(source.file, printable(source.name), least_side)
    name = printable(source)
    with _open(Path(source), name) as stream:
        return _decode(stream, name, least_side)


def printable(name: object) -> str:
    """A file name on one line, as valid UTF-8."""
    controls = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
    return re.sub(controls, lambda match: ascii(match[0])[1:-1], str(name))


def _open(path: Path, name: str) -> OpenFile:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            problem = "a folder, not a photo; name the photos in it"
        elif not stat.S_ISREG(status.st_mode):
            problem = "not a plain file; save the photo to a file first"
        else:
            return path.open("rb")
    except FileNotFoundError:
        there = path.is_symlink()
        problem = "a link to a file that is not there; mend the link" if there else "no such file"
    except PermissionError:
        problem = "no permission to read it; change that with chmod +r"
    except (OSError, ValueError) as error:
        problem = f"cannot be opened ({getattr(error, 'strerror', None) or error}); check the name"
    raise ImageError(f"{name}: {problem}")


def _decode(source: OpenFile | Image.Image, name: str, least_side: int | None) -> Image.Image:
    """RGB from an open file or an image. Whatever a damaged file makes Pillow raise: ImageError."""
    try:
        with _decoding, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not isinstance(source, Image.Image):
                source = _read_header(source, name, least_side)
            return _to_rgb(source, name)
    except ImageError:
        raise
    except UnidentifiedImageError:
        known = "JPEG, PNG, GIF, BMP, WebP, TIFF or PPM"
        raise ImageError(f"{name}: not a {known} image; convert it to JPEG or PNG") from None
    except Image.DecompressionBombError as error:
        size = re.search(r"\d+ pixels", str(error))
        raise ImageError(f"{name}: {_too_large(size[0] if size else 'unknown')}") from error
    except Exception as error:
        reason = printable(error) or type(error).__name__
        problem = f"damaged or cut short ({reason}); copy the photo again"
        raise ImageError(f"{name}: {problem}") from error


def _read_header(opened: OpenFile, name: str, least_side: int | None) -> Image.Image:
    file = cast(IO[bytes], opened)
    if not file.read(1):
        raise ImageError(f"{name}: empty, 0 bytes; copy the photo again")
    image = Image.open(file, formats=FORMATS)
    _check_size(image, name)
    if least_side:
        image.draft(None, (least_side, least_side))
    return image


def _check_size(image: Image.Image, name: str) -> None:
    if not image.width * image.height:
        raise ImageError(f"{name}: has no pixels ({image.width} x {image.height})")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(f'{image.width} x {image.height} pixels')}")


def _too_large(size: str) -> str:
    limit = f"{MAX_PIXELS // 1_000_000} megapixels"
    return f"too large ({size}); make a smaller copy, of {limit} at most"


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    _check_size(image, name)
    image.load()
    image = _upright(image)
    if image.mode.startswith("I"):
        image = _image_of(np.clip(np.asarray(image), 0, 65535).astype(np.uint16), name)
    elif image.mode == "F":
        image = _image_of(np.asarray(image), name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    image = image.convert("RGB")
    image.info.clear()  # or the orientation would be applied again by whoever reads it next
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        method = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a photo with a broken EXIF block is still a photo
        method = None
    return image if method is None else image.transpose(method)


def _image_of(array: NDArray[Any], name: str) -> Image.Image:
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
