import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrnn.data.images import MAX_PIXELS, NamedImage, load_image
from mrnn.errors import ImageError

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


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


# What can be read


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_every_way_to_give_a_photo_gives_the_same_pixels(tmp_path, kind):
    image = photo()
    path = tmp_path / "photo"
    path.write_bytes(encoded(image, kind))
    for source in (path, str(path), path.read_bytes(), np.asarray(image), image):
        loaded = load_image(source)
        assert loaded.mode == "RGB"
        np.testing.assert_array_equal(loaded, image)


def test_a_named_image_needs_no_path():
    with SpooledTemporaryFile(max_size=10) as file:  # grows out of memory, onto the disk
        file.write(encoded(photo()))
        file.seek(0)
        loaded = load_image(NamedImage("../name", file))
        np.testing.assert_array_equal(loaded, photo())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_keep_colours(kind):
    loaded = load_image(encoded(half_red_half_blue(), kind))
    np.testing.assert_allclose(corner(loaded), RED, atol=3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_agree_with_pillow_when_opaque(mode):
    image = photo(mode=mode)
    np.testing.assert_array_equal(load_image(image), image.convert("RGB"))


def test_cmyk_jpeg():
    loaded = load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(corner(loaded), RED, atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind):
    grey = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    loaded = load_image(encoded(Image.fromarray(grey), kind))
    assert np.asarray(loaded)[0, :, 1].tolist() == [0, 0, 1, 128, 255]


def test_32_bit_grey_is_read_as_16_bit():
    grey = Image.fromarray(np.array([[-5, 32768, 100_000]], np.int32))
    assert np.asarray(load_image(grey))[0, :, 0].tolist() == [0, 128, 255]


def test_float_image_is_in_0_to_1():
    grey = Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32))
    assert np.asarray(load_image(encoded(grey, "TIFF")))[0, :, 2].tolist() == [0, 128, 255]


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new(mode, (4, 4))
    image.putalpha(0)
    assert image.mode in ("RGBA", "LA", "PA")
    assert corner(load_image(image)) == WHITE


def test_half_transparent_is_mixed_with_white():
    loaded = load_image(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128))))
    np.testing.assert_allclose(corner(loaded), (255, 127, 127), atol=1)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency_is_laid_on_white_without_a_warning(transparency):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, *BLUE])
    assert corner(load_image(encoded(image, transparency=transparency))) == WHITE


def test_grey_with_a_transparent_value_is_laid_on_white():
    assert corner(load_image(encoded(Image.new("L", (4, 4), 7), transparency=7))) == WHITE


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    moving = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert corner(load_image(moving)) == RED


def test_first_picture_of_a_stereo_photo():
    pictures = [Image.new("RGB", (64, 64), colour) for colour in (RED, BLUE)]
    stereo = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    loaded = load_image(stereo, least_side=32)
    assert loaded.size == (32, 32)
    np.testing.assert_allclose(corner(loaded), RED, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = photo()
    mirror, turns = [  # what was done to the stored pixels: turned right, then mirrored
        *((False, 0), (True, 0), (False, 2), (True, 2)),
        *((True, 1), (False, 3), (True, 3), (False, 1)),
    ][orientation - 1]
    stored = np.rot90(np.asarray(upright), -turns)
    stored = stored[:, ::-1] if mirror else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        source = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
        np.testing.assert_array_equal(load_image(source), upright)
        opened = Image.open(io.BytesIO(source))
        np.testing.assert_array_equal(load_image(load_image(opened)), upright)  # turned once only


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\1\x12"])
def test_a_photo_with_broken_exif_is_still_a_photo(exif):
    source = encoded(photo(), "JPEG", exif=exif)
    assert load_image(source).size == (40, 30)


def test_the_image_given_is_left_as_it_is():
    image = Image.new("P", (4, 4))
    image.info["comment"] = "mine"
    load_image(image)
    assert image.mode == "P"
    assert image.info == {"comment": "mine"}


def test_names_with_spaces_and_emoji(tmp_path):
    path = tmp_path / "mein Foto 🐕 é.png"
    photo().save(path)
    assert load_image(path).size == (40, 30)


def test_least_side_decodes_a_jpeg_smaller_but_never_too_small():
    source = encoded(half_red_half_blue().resize((640, 400)), "JPEG")
    assert load_image(source).size == (640, 400)
    assert load_image(source, least_side=100).size == (160, 100)
    assert load_image(source, least_side=101).size == (320, 200)
    assert load_image(source, least_side=1000).size == (640, 400)
    assert load_image(encoded(photo()), least_side=5).size == (40, 30)


# Arrays


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_array(dtype):
    array = np.array([[0, 0.25, 1]], dtype)
    assert np.asarray(load_image(array))[0, :, 0].tolist() == [0, 64, 255]


def test_array_kinds():
    grey = np.full((2, 3), 9, np.uint8)
    assert corner(load_image(grey)) == (9, 9, 9)
    assert corner(load_image(np.full((2, 3), 9 * 256, np.uint16))) == (9, 9, 9)
    assert corner(load_image(np.zeros((2, 3, 4), np.uint8))) == WHITE
    assert load_image(np.zeros((2, 3, 3))).size == (3, 2)
    every_other = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)[::-1, ::2]
    np.testing.assert_array_equal(load_image(every_other), every_other)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros(3), r"array: shape \(3,\); expected H x W"),
        (np.zeros((2, 2, 2)), r"array: shape \(2, 2, 2\)"),
        (np.zeros((0, 2)), r"array: shape \(0, 2\)"),
        (np.array([[0.0, 255.0]]), r"array: float values in 0\.\.255; scale them to 0\.\.1"),
        (np.array([[np.nan]]), "array: float values in nan"),
        (np.zeros((2, 2), np.int64), "array: values of type int64; expected uint8"),
    ],
)
def test_arrays_that_are_refused(array, problem):
    with pytest.raises(ImageError, match=problem):
        load_image(array)


# What is refused


def png_header(width, height):
    """A PNG that promises much and holds nothing."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("width", [10_001, 15_000, 1_000_000])
def test_too_many_pixels_are_refused_before_decoding(width):
    with pytest.raises(
        ImageError,
        match=r"image bytes: too large \(\d+[ x\d]* pixels\); .* of 100 megapixels at most",
    ):
        load_image(png_header(width, 10_000))


def test_a_size_that_pillow_warns_of_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert load_image(encoded(photo())).size == (40, 30)
    assert MAX_PIXELS == 100_000_000
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match=r"image: has no pixels \(0 x 3\)"):
        load_image(Image.new("RGB", (0, 3)))


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
@pytest.mark.parametrize("least_side", [None, 32])
def test_truncated_jpeg(tmp_path, kept, least_side):
    whole = encoded(photo((320, 240)), "JPEG")
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ImageError, match=r"cut\.jpg: damaged or cut short \(.*copy the photo"):
        load_image(path, least_side=least_side)


def test_an_opened_image_that_is_truncated_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(photo((320, 240)), "JPEG")[:3000])
    with Image.open(path) as image, pytest.raises(ImageError, match=r"cut\.jpg: damaged"):
        load_image(image)


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a is what I am called",
        b"<svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.jpg: (not a JPEG, PNG.* image; convert|damaged)"):
        load_image(path)


def test_formats_that_start_other_programs_are_not_opened():
    with pytest.raises(ImageError, match="not a JPEG, PNG"):
        load_image(encoded(photo(), "EPS"))


def test_empty(tmp_path):
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(ImageError, match=r"a\.jpg: empty, 0 bytes"):
        load_image(path)
    with pytest.raises(ImageError, match="image bytes: empty, 0 bytes"):
        load_image(b"")
    with pytest.raises(ImageError, match=r"^a\\nb: empty, 0 bytes"):
        load_image(NamedImage("a\nb", io.BytesIO()))


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(ImageError, match="a folder, not a photo"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "none.jpg")
    link = tmp_path / "link.jpg"
    link.symlink_to(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match=r"link\.jpg: a link to a file that is not there"):
        load_image(link)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="pipe: not a plain file"):
        load_image(tmp_path / "pipe")
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    with pytest.raises(ImageError, match=r"loop\.jpg: cannot be opened"):
        load_image(loop)
    with pytest.raises(ImageError, match="cannot be opened"):
        load_image("a" * 10_000)
    with pytest.raises(ImageError, match=r"a\\x00\.jpg: cannot be opened"):
        load_image("a\0.jpg")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read all")
def test_no_permission(tmp_path):
    path = tmp_path / "a.png"
    photo().save(path)
    path.chmod(0)
    with pytest.raises(ImageError, match=r"a\.png: no permission"):
        load_image(path)


def test_no_permission_as_told_by_the_system(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    photo().save(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(ImageError, match=r"a\.png: no permission to read it; change"):
        load_image(path)


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\r\u2028b.jpg", "a\udcffb.jpg"])
def test_a_message_is_one_line_of_utf8_whatever_the_name(tmp_path, name):
    with pytest.raises(ImageError, match="no such file") as raised:
        load_image(tmp_path / name)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    message.encode()


STARTS = [
    encoded(half_red_half_blue(), kind)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
] + [encoded(half_red_half_blue(), "TIFF", compression="tiff_lzw")]


@given(st.binary(max_size=200), st.sampled_from([b"", *STARTS]), st.integers(0, 400))
def test_whatever_the_bytes_there_is_an_rgb_image_or_an_image_error(noise, start, place):
    source = start[:place] + noise + start[place + len(noise) :]
    with suppress(ImageError):
        assert load_image(source).mode == "RGB"


def test_warning_filters_are_left_as_they_were_by_threads_too():
    before = list(warnings.filters)
    source = encoded(photo((320, 240)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load_image, [source] * 20))
    assert warnings.filters == before
