import io
import zlib

import numpy as np
import pytest
from PIL import Image

from mrnn.data.image_files.png_chunks import PixelChunks
from mrnn.data.images import load_image
from mrnn.errors import ImageError
from tests.data.photo_files import RED, SIGNATURE, chunk, encoded, photo, with_chunk

HUGE = zlib.compress(bytes(100_000_000))  # 97 kB
ODD = [
    chunk(b"zTXt", b"workflow\0\0" + HUGE),
    chunk(b"iTXt", b"workflow\0\1\0\0\0" + HUGE),
    chunk(b"iCCP", b"profile\0\0" + HUGE),
    chunk(b"iCCP", b"profile\0\7" + HUGE),
    chunk(b"iCCP", b"profile"),
    chunk(b"zTXt", b"Raw profile type exif\0\0" + HUGE),
    chunk(b"zTXt", b"Raw profile type exif\0\0nonsense"),
    chunk(b"tEXt", b"a\0b", check=b"oops"),
    chunk(b"gAMA", b"\0\0\0\1", check=b"oops"),
    chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12", check=b"oops"),
    chunk(b"eXIf", b"nonsense"),
    chunk(b"pHYs", b""),
    chunk(b"cHRM", b"x"),
    chunk(b"sRGB", b""),
    chunk(b"acTL", b"\0\0\0\0\0\0\0\0"),
    chunk(b"acTL", b"x"),
    chunk(b"fcTL", b"x"),
    chunk(b"tRNS", b"\0" * 6, check=b"oops"),
    chunk(b"abCd", b"?" * 1000),
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_chunks_that_pixels_do_not_need_may_hold_anything(odd):
    whole = encoded(photo())
    for place in (33, len(whole) - 12):
        np.testing.assert_array_equal(load_image(with_chunk(whole, odd, place)), photo())


def test_many_chunks_of_text():
    whole = encoded(photo())
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000)))
    np.testing.assert_array_equal(load_image(with_chunk(whole, text * 200)), photo())


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE"])
def test_a_damaged_chunk_that_pixels_need_is_an_error(kind):
    whole = encoded(photo(mode="P"))
    place = whole.index(kind) + 5
    with pytest.raises(ImageError, match=r"image bytes: damaged PNG \(.*checksum.*copy the photo"):
        load_image(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])


def test_what_is_kept_reads_as_one_file():
    whole = encoded(photo())
    odd = with_chunk(with_chunk(whole, ODD[7]), ODD[0], len(whole) + len(ODD[7]) - 12)
    kept = PixelChunks(io.BytesIO(odd))
    assert kept.read() == whole
    assert kept.read() == b""
    assert kept.seek(-12, io.SEEK_END) == len(whole) - 12
    assert kept.read(8) == whole[-12:-4]
    assert kept.seek(-3, io.SEEK_CUR) == kept.tell() == len(whole) - 7
    assert kept.seek(20) == 20
    assert io.BufferedReader(kept).read() == whole[20:]


@pytest.mark.parametrize("length", [8, 20, 33, 36, 41, 60])
def test_a_png_that_is_cut_short_is_an_error(length):
    with pytest.raises(ImageError, match="PNG"):
        load_image(encoded(photo())[:length])


def test_a_png_without_its_end_is_whole():
    whole = encoded(photo())
    np.testing.assert_array_equal(load_image(whole[:-12]), photo())
    np.testing.assert_array_equal(load_image(whole + b"garbage"), photo())


def test_transparency_is_kept():
    image = Image.new("RGB", (4, 4), RED)
    whole = encoded(image, transparency=RED)
    assert load_image(whole).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_grey_of_16_bits():
    whole = encoded(Image.fromarray(np.array([[500, 501]], np.uint16)))
    loaded = load_image(with_chunk(whole, chunk(b"tRNS", b"\x01\xf4")))
    assert np.asarray(loaded)[0, :, 0].tolist() == [255, 1]


def turned(kind):
    """A chunk that says that the photo lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = f"\nexif\n{len(raw):8d}\n{raw.hex()}\n".encode()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a tiff:Orientation=\"6\"/></x:xmpmeta>"
    return {
        "eXIf": chunk(b"eXIf", raw[6:]),
        "text": chunk(b"tEXt", b"Raw profile type exif\0" + text),
        "compressed": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
    }[kind]


@pytest.mark.parametrize("kind", ["eXIf", "text", "compressed", "XMP"])
def test_the_orientation_is_kept_wherever_it_stands(kind):
    whole = encoded(photo())
    for place in (33, len(whole) - 12):
        loaded = load_image(with_chunk(whole, turned(kind), place))
        np.testing.assert_array_equal(loaded, np.rot90(photo(), -1))


def test_an_animation_shows_its_still_picture():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, "blue")]
    moving = encoded(frames[0], save_all=True, append_images=frames[1:], default_image=True)
    assert b"fcTL" in moving
    assert moving.startswith(SIGNATURE)
    assert load_image(moving).getpixel((0, 0)) == RED
