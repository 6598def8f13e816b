"""Photos: path, bytes, array or PIL image to RGB, whatever the file holds."""

import errno
import io
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from PIL import Image

from mrnn.data.image_files.image_format import (
    STREAMED,
    CountedFile,
    OpenFile,
    format_of,
    head_of,
    reader_of,
    what_else,
)
from mrnn.data.image_files.jpeg_scans import check_scans, reduce_jpeg
from mrnn.data.image_files.pillow_messages import without_messages
from mrnn.data.image_files.pixels import image_of, to_rgb, upright
from mrnn.data.image_files.png_chunks import PixelChunks
from mrnn.errors import ImageError, printable


@dataclass(frozen=True)
class NamedImage:
    """The open file of an image, which needs no path, and its name for results and messages."""

    name: str
    file: io.IOBase


ImageSource = str | Path | bytes | np.ndarray | Image.Image | NamedImage

MAX_PIXELS = 100_000_000
"""Pixels that are decoded: those of the photo, or of a JPEG as it is decoded smaller.

They cost up to 16 bytes each while they are read; those of a JPEG 2000 cost four times as much,
and a quarter of them may be there."""

MAX_SIDE = 1_000_000

MAX_BYTES = 4 * MAX_PIXELS
"""Size of a file of a format that is held in memory as a whole."""

BUFFER = 2**18

MAX_TEXT = 10_000_000
"""Bytes of a PPM whose numbers are text, which Pillow reads in Python."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif", ".jp2", ".j2k", ".jpf", ".jpx"),
)

UNREAD = (".jxl",)
"""Photos too: they are listed in a folder, so that `load_image` says how to convert them."""

_CUT = re.compile(r"truncat|end of|too few|incomplete|not enough|unexpected eof|only got", re.I)


def load_image(source: ImageSource, *, least_side: int | None = None) -> Image.Image:
    """The photo upright in RGB: transparency on white, the first frame of an animation.

    An array is H x W, H x W x 3 or H x W x 4: uint8, uint16, or float in 0..1. With `least_side`
    a JPEG may be decoded smaller, to save time; its shorter side stays at least that long. One of
    more than MAX_PIXELS is always decoded smaller. Any number of threads may read photos at once.
    Raises ImageError, and nothing else, for a photo that cannot be read.
    """
    if isinstance(source, np.ndarray):
        return to_rgb(image_of(source, "array"))
    if isinstance(source, Image.Image):
        return _decode(source, printable(getattr(source, "filename", "") or "image"), None)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), "image bytes", least_side)
    if isinstance(source, NamedImage):
        return _decode(cast(OpenFile, source.file), printable(source.name), least_side)
    name = printable(source)
    with _open(Path(source), name) as stream:
        return _decode(stream, name, least_side)


def _open(path: Path, name: str) -> io.BufferedReader:
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
    kind, size = "image", 0
    try:
        with without_messages():
            if isinstance(source, Image.Image):
                kind = source.format or kind
                _check_size(source, MAX_PIXELS)
                return _to_rgb(source, own=False)
            kind, size = _identify(source)
            return _to_rgb(_read_header(source, kind, least_side), own=True)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except Exception as error:
        raise ImageError(f"{name}: {_problem(error, kind, size)}") from error


def _identify(file: OpenFile) -> tuple[str, int]:
    """The format of a file that can be read, and its size in bytes."""
    size = file.seek(0, io.SEEK_END)
    if not size:
        raise ImageError("empty, 0 bytes; copy the photo again")
    head = head_of(file)
    kind = format_of(head)
    if not kind:
        raise ImageError(what_else(head))
    if size > MAX_BYTES and kind not in STREAMED:
        raise ImageError(f"too large for {kind} ({size / 1e9:.1f} GB); make a smaller copy")
    if size > MAX_TEXT and head[:2] in (b"P1", b"P2", b"P3"):
        raise ImageError(f"too large for a PPM of text ({size / 1e6:.0f} MB); save it as binary")
    return kind, size


def _read_header(file: OpenFile, kind: str, least_side: int | None) -> Image.Image:
    file = counted = CountedFile(file)
    if kind == "PNG":
        file = io.BufferedReader(PixelChunks(file), BUFFER)
    image = reader_of(kind)(cast(IO[bytes], file))
    counted.stop_counting()
    if kind == "JPEG":
        check_scans(image, file)
        reduce_jpeg(image, least_side, MAX_PIXELS)
    _check_size(image, MAX_PIXELS // 4 if kind == "JPEG 2000" else MAX_PIXELS)
    return image


def _to_rgb(image: Image.Image, *, own: bool) -> Image.Image:
    """Upright RGB, a plain image that shares nothing; `own` if nobody else has `image`."""
    image.load()
    rgb = to_rgb(upright(image))
    if rgb is image:  # without its reader, which may hold the whole file
        rgb = image._new(image.im) if own else image.copy()
    rgb.info.clear()  # or the orientation would be applied again by whoever reads it next
    return rgb


def _check_size(image: Image.Image, most_pixels: int) -> None:
    size = f"{image.width} x {image.height}"
    if not image.width * image.height:
        raise ImageError(f"has no pixels ({size})")
    if max(image.size) > MAX_SIDE:
        raise ImageError(f"too long ({size} pixels); cut it, to {MAX_SIDE:,} pixels a side at most")
    if image.width * image.height > most_pixels:
        raise ImageError(_too_large(f"{size} pixels", most_pixels))


def _too_large(size: str, most_pixels: int = MAX_PIXELS) -> str:
    limit = f"{most_pixels // 1_000_000} megapixels"
    return f"too large ({size}); make a smaller copy, of {limit} at most"


def _problem(error: Exception, kind: str, size: int) -> str:
    """What is wrong with a photo that Pillow cannot open whole, and what mends it."""
    if isinstance(error, MemoryError):
        return "too large for the memory that is free; make a smaller copy"
    if isinstance(error, Image.DecompressionBombError):
        pixels = re.search(r"\d+ pixels", str(error))
        return _too_large(pixels[0] if pixels else "unknown")
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # of the drive
        return f"cannot be read ({error.strerror}); copy it to another drive"
    reason = printable(error) or type(error).__name__
    if _CUT.search(reason):
        there = f"its {size:,} bytes end before the picture does" if size else "it ends too soon"
        return f"{kind} cut short: {there} ({reason:.80}); copy the photo again"
    return f"damaged {kind} ({reason:.120}); copy the photo again"
