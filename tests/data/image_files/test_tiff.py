import io
import struct

import numpy as np
import pytest
from PIL import Image

from mrnn.data.image_files import tiff
from mrnn.data.images import load_image
from mrnn.errors import ImageError
from tests.data.photo_files import encoded, half_red_half_blue, photo

BYTE, ASCII, SHORT, LONG = 1, 2, 3, 4
LETTERS = {SHORT: "H", LONG: "I"}


def tiff_of(tags, data=b""):
    """A TIFF file of one page; `tags` are (kind, values), values may be bytes."""
    tags = {tag: (kind, packed(kind, values)) for tag, (kind, values) in tags.items()}
    beyond, entries = 8 + 2 + 12 * len(tags) + 4 + len(data), b""
    extra = b""
    for tag, (kind, value) in sorted(tags.items()):
        count = len(value) // {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4}[kind]
        place = struct.pack("<I", beyond + len(extra))
        entries += struct.pack("<HHI", tag, kind, count)
        entries += value.ljust(4, b"\0") if len(value) <= 4 else place
        extra += value if len(value) > 4 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data + extra


def packed(kind, values):
    if isinstance(values, bytes):
        return values
    return struct.pack(f"<{len(values)}{LETTERS[kind]}", *values)


def grey(width, height, **others):
    """Tags of a grey page without compression; its pixels begin at byte 200."""
    named = {256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8]), 259: (SHORT, [1])}
    named |= {262: (SHORT, [1]), 273: (LONG, [200]), 277: (SHORT, [1]), 279: (LONG, [width])}
    return named | {int(tag[1:]): value for tag, value in others.items()}


def test_a_page_that_is_well():
    pixels = bytes(range(100, 112))
    loaded = load_image(tiff_of(grey(4, 3), bytes(200)[: 200 - 8 - 2 - 96 - 4] + pixels))
    assert np.asarray(loaded)[:, :, 0].tobytes() == pixels


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_by_its_tag(compression, orientation):
    source = encoded(
        half_red_half_blue(), "TIFF", compression=compression, tiffinfo={274: orientation}
    )
    loaded = load_image(source)
    assert np.allclose(loaded, load_image(Image.open(io.BytesIO(source))), atol=2)
    assert loaded.size == ((32, 16) if orientation < 5 else (16, 32))


@pytest.mark.parametrize(
    "orientation", [(SHORT, [0]), (SHORT, [9]), (ASCII, b"6\0"), (SHORT, [7] * 50), (BYTE, b"?")]
)
def test_orientation_that_makes_no_sense(orientation):
    whole = tiff_of(grey(4, 3, t274=orientation), bytes(1000))
    assert load_image(whole).size[0] in (3, 4)


def test_many_strips_or_tiles(monkeypatch):
    many = tiff_of(grey(4, 60, t273=(LONG, [200] * 60), t278=(SHORT, [1])), bytes(1000))
    assert load_image(many).size == (4, 60)
    monkeypatch.setattr(tiff, "MAX_RAW_PARTS", 59)
    with pytest.raises(ImageError, match="bytes: a TIFF of more than 59 strips or tiles; save"):
        load_image(many)
    packed_strips = encoded(photo((4, 60)), "TIFF", compression="tiff_lzw", strip_size=1)
    assert load_image(packed_strips).size == (4, 60)
    monkeypatch.setattr(tiff, "MAX_PARTS", 10)
    with pytest.raises(ImageError, match="more than 10 strips or tiles"):
        load_image(packed_strips)


def test_tiles_that_are_much_larger_than_the_page():
    tiled = {f"t{tag}": (LONG, [20_000]) for tag in (322, 323)}
    tags = grey(4, 3, t324=(LONG, [200]), t325=(LONG, [9]), t259=(SHORT, [8]), **tiled)
    del tags[273], tags[279]
    with pytest.raises(ImageError, match="a TIFF with tiles of 20000 x 20000 pixels; save it"):
        load_image(tiff_of(tags, bytes(500)))


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({"t271": (ASCII, b"NIKON CORPORATION\0"), "t330": (LONG, [8, 8])}, "NIKON CORPORATION"),
        ({"t271": (ASCII, b"\xff\0\x1b\0"), "t330": (LONG, [8])}, r"ÿ\\x00\\x1b"),
        ({"t50706": (BYTE, b"\1\4\0\0")}, "DNG"),
    ],
)
def test_raw_photos_whose_first_page_is_a_thumbnail(tags, named):
    raw = tiff_of(grey(4, 3, t254=(LONG, [1]), **tags), bytes(500))
    message = rf"a camera's raw photo \({named}\); export it as JPEG or PNG"
    with pytest.raises(ImageError, match=message):
        load_image(raw)
    assert load_image(tiff_of(grey(4, 3, t254=(LONG, [0]), **tags), bytes(500))).size == (4, 3)


def test_a_compression_that_is_not_known():
    with pytest.raises(ImageError, match="a TIFF of compression 65535, which is not read; save"):
        load_image(tiff_of(grey(4, 3, t259=(SHORT, [65535])), bytes(500)))


def test_32_bit_values_without_a_sign():
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    tags = grey(3, 1, t258=(SHORT, [32]), t279=(LONG, [12]))
    whole = tiff_of(tags, bytes(200 - 110) + values.tobytes())
    assert np.asarray(load_image(whole))[0, :, 0].tolist() == [0, 128, 255]
    signed = tiff_of(tags | {339: (SHORT, [2])}, bytes(200 - 122) + values.tobytes())
    assert np.asarray(load_image(signed))[0, :, 0].tolist() == [255, 0, 255]


@pytest.mark.parametrize(
    ("bits", "form", "values"),
    [(8, "B", (0, 128, 255)), (16, "H", (0, 32768, 65535))],
)
def test_white_may_be_zero(bits, form, values):
    data = struct.pack(f"<3{form}", *values)
    tags = grey(3, 1, t258=(SHORT, [bits]), t262=(SHORT, [0]), t279=(LONG, [len(data)]))
    whole = tiff_of(tags, bytes(200 - 110) + data)
    assert np.asarray(load_image(whole))[0, :, 0].tolist() == [255, 127, 0]


def test_damaged_tags_beside_the_pixels():
    damaged = {"t700": (BYTE, b"<"), "t34665": (LONG, [2**31]), "t34853": (LONG, [9])}
    damaged |= {"t306": (ASCII, b"\xff"), "t33723": (LONG, [7] * 20), "t34675": (BYTE, b"ICC")}
    assert load_image(tiff_of(grey(4, 3, **damaged), bytes(500))).size == (4, 3)
