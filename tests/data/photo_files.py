"""Files of photos for the tests of how they are read."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photo(size=(40, 30), mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def half_red_half_blue():
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (16, 0, 32, 16))
    return image


def corner(image):
    return image.getpixel((0, 0))


def chunk(kind, data, check=None):
    """A chunk of a PNG; `check` in place of its right checksum."""
    check = struct.pack(">I", zlib.crc32(kind + data)) if check is None else check
    return struct.pack(">I", len(data)) + kind + data + check


def png_header(width, height, depth=8, colours=2):
    """A PNG that promises much and holds nothing."""
    size = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def with_chunk(png, added, place=33):
    """A PNG with a chunk more, after IHDR or at `place`."""
    return png[:place] + added + png[place:]
