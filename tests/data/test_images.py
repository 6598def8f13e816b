import io
import os
import threading
import warnings
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
from tests.data.heic_photos import ALPHA, PLAIN, TURNED
from tests.data.photo_files import (
    BLUE,
    RED,
    WHITE,
    corner,
    encoded,
    half_red_half_blue,
    photo,
    png_header,
)

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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 128, 255]], [0, 128, 255]),
        ([[3, 100, 200]], [3, 100, 200]),
        ([[0, 2000, 4000]], [0, 128, 255]),
        ([[-100, 0, 100]], [0, 128, 255]),
        ([[-(2**31), 0, 2**31 - 1]], [0, 128, 255]),
        ([[70_000, 70_000, 70_000]], [0, 0, 0]),
    ],
)
def test_32_bit_grey_is_scaled_by_its_range_unless_it_fits_8_bits(values, expected):
    grey = Image.fromarray(np.array(values, np.int32))
    for source in (grey, encoded(grey, "TIFF")):
        assert np.asarray(load_image(source))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.25, 0.5, 0.75], [64, 128, 191]),
        ([-4.0, 0.0, 4.0], [0, 128, 255]),
        ([100.0, 300.0, 500.0], [0, 128, 255]),
        ([-3e38, 0, 3e38], [0, 128, 255]),
        ([np.nan, 0, 10], [0, 0, 255]),
        ([-np.inf, 10, np.inf], [0, 0, 255]),
    ],
)
def test_floats_are_in_0_to_1_or_else_scaled_by_the_range_of_the_finite_ones(values, expected):
    grey = Image.fromarray(np.array([values], np.float32))
    for source in (grey, encoded(grey, "TIFF"), encoded(grey, "TIFF", compression="tiff_lzw")):
        assert np.asarray(load_image(source))[0, :, 2].tolist() == expected


def test_floats_none_of_which_is_finite_are_refused():
    with pytest.raises(ImageError, match="image: none of its values is a finite number"):
        load_image(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


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


def test_heic():
    loaded = load_image(PLAIN)
    assert loaded.size == (32, 16)
    np.testing.assert_allclose(corner(loaded), RED, atol=3)
    np.testing.assert_allclose(loaded.getpixel((31, 15)), BLUE, atol=3)
    assert corner(load_image(ALPHA)) == WHITE


def test_heic_is_turned_once():
    loaded = load_image(TURNED)
    assert loaded.size == (16, 32)
    np.testing.assert_allclose(corner(loaded), RED, atol=3)
    np.testing.assert_allclose(loaded.getpixel((15, 31)), BLUE, atol=3)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_formats_of_other_containers(tmp_path, kind):
    path = tmp_path / "named.jpg"
    path.write_bytes(encoded(half_red_half_blue(), kind))
    for source in (path, path.read_bytes()):
        loaded = load_image(source)
        assert loaded.size == (32, 16)
        np.testing.assert_allclose(corner(loaded), RED, atol=5)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG"])
def test_exif_orientation_counts_in_each_container(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = load_image(encoded(half_red_half_blue(), kind, exif=exif))
    assert loaded.size == (16, 32)
    np.testing.assert_allclose(loaded.getpixel((8, 2)), RED, atol=5)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "entry",
    [
        b"\0\3\0\0\0\1\0\0\0\0",  # 0,
        b"\0\3\0\0\0\1\0\x09\0\0",  # 9,
        b"\0\2\0\0\0\2" + b"6\0\0\0",  # text,
        b"\0\5\0\0\0\1\0\0\xff\xff",  # a fraction, beyond the end,
        b"\0\x63\0\0\0\1\0\6\0\0",  # and an unknown type
    ],
)
def test_an_orientation_that_makes_no_sense_is_none(kind, entry):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12" + entry + bytes(4)
    assert load_image(encoded(photo(), kind, exif=exif)).size == (40, 30)


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


@pytest.mark.parametrize("width", [10_001, 15_000, 1_000_000])
def test_too_many_pixels_are_refused_before_decoding(width):
    with pytest.raises(
        ImageError,
        match=r"image bytes: too large \(\d+[ x\d]* pixels\); .* of 100 megapixels at most",
    ):
        load_image(png_header(width, 10_000))


def test_a_jpeg_of_too_many_pixels_is_decoded_smaller(monkeypatch):
    source = encoded(half_red_half_blue().resize((640, 400)), "JPEG")
    for limit, size in ((256_000, (640, 400)), (255_999, (320, 200)), (4_000, (80, 50))):
        monkeypatch.setattr("mrnn.data.images.MAX_PIXELS", limit)
        assert load_image(source).size == size
        assert load_image(source, least_side=50).size == (80, 50)
    monkeypatch.setattr("mrnn.data.images.MAX_PIXELS", 3_999)
    with pytest.raises(ImageError, match=r"too large \(80 x 50 pixels\)"):
        load_image(source)


@pytest.mark.parametrize("size", [(1, 1_000_001), (100_000_000, 1)])
def test_a_side_that_is_too_long_is_refused(size):
    with pytest.raises(ImageError, match=r"image bytes: too long .*; cut it, to 1,000,000 pixels"):
        load_image(png_header(*size))


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
    with pytest.raises(
        ImageError, match=r"cut\.jpg: JPEG cut short: its [\d,]+ bytes end before .*copy the photo"
    ):
        load_image(path, least_side=least_side)


def test_an_opened_image_that_is_truncated_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(photo((320, 240)), "JPEG")[:3000])
    with Image.open(path) as image, pytest.raises(ImageError, match=r"cut\.jpg: JPEG cut short"):
        load_image(image)


def test_formats_that_start_other_programs_are_not_opened():
    with pytest.raises(ImageError, match=r"a PostScript drawing \(EPS\); export it as JPEG or PNG"):
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


def test_a_header_of_too_many_parts_is_refused():
    whole = encoded(photo(), "GIF")
    place = whole.index(b",", 13)
    comments = whole[:place] + b"!\xfe\1c\0" * 300_000 + whole[place:]
    with pytest.raises(ImageError, match="image bytes: its header has too many parts; save the"):
        load_image(comments)


class Sparse(io.BytesIO):
    """A file that tells another size."""

    def __init__(self, data, size):
        super().__init__(data)
        self.told = size

    def seek(self, offset, whence=0):
        return self.told if whence == 2 else super().seek(offset, whence)


def test_files_that_are_held_in_memory_have_a_limit():
    for kind, size, problem in (
        ("WEBP", 400_000_001, r"a: too large for WebP \(0\.4 GB\); make a smaller copy"),
        ("JPEG", 4_000_000_000, r"a: too large for JPEG \(4\.0 GB\); make a smaller copy"),
    ):
        with pytest.raises(ImageError, match=problem):
            load_image(NamedImage("a", Sparse(encoded(photo(), kind), size)))
    assert load_image(NamedImage("a", Sparse(encoded(photo(), "TIFF"), 10**10))).size == (40, 30)


def test_numbers_as_text_have_a_limit():
    text = b"P3\n1 1\n255\n1 2 3\n"
    assert corner(load_image(text)) == (1, 2, 3)
    with pytest.raises(
        ImageError, match=r"too large for a PPM of text \(12 MB\); save it as binar"
    ):
        load_image(text + b" " * 12_000_000)


def test_jpeg_2000_has_a_lower_limit(monkeypatch):
    source = encoded(photo((40, 30)), "JPEG2000")
    monkeypatch.setattr("mrnn.data.images.MAX_PIXELS", 4 * 1200)
    assert load_image(source).size == (40, 30)
    monkeypatch.setattr("mrnn.data.images.MAX_PIXELS", 4 * 1200 - 1)
    with pytest.raises(ImageError, match=r"too large \(40 x 30 pixels\)"):
        load_image(source)


class Failing(Image.Image):
    """An image whose pixels cannot be had."""

    def __init__(self, error):
        super().__init__()
        self.error = error
        self._size = (40, 30)

    def load(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (MemoryError(), "image: too large for the memory that is free; make a smaller copy"),
        (
            OSError(5, "Input/output error"),
            r"image: cannot be read \(Input/output error\); copy it",
        ),
        (OSError(22, "Invalid argument"), r"image: damaged image \(\[Errno 22\] Invalid argument"),
        (RuntimeError(), r"image: damaged image \(RuntimeError\); copy the photo again"),
        (ValueError("a\nb" * 200), r"image: damaged image \(a\\nb.{116}\); copy the photo again"),
    ],
)
def test_whatever_reading_raises_is_an_image_error(error, problem):
    with pytest.raises(ImageError, match=problem) as raised:
        load_image(Failing(error))
    assert raised.value.__cause__ is error


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


class Meeting(Image.Image):
    """An image that is loaded only while another thread loads one as well."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier
        self.im = photo().im
        self._mode, self._size = "RGB", (40, 30)

    def load(self):
        if self.barrier:
            self.barrier.wait(60)
            self.barrier = None
        return super().load()


def test_two_threads_decode_at_once():
    barrier = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        for loaded in threads.map(load_image, [Meeting(barrier), Meeting(barrier)]):
            np.testing.assert_array_equal(loaded, photo())


def test_warning_filters_are_left_as_they_were_by_threads_too():
    before = list(warnings.filters)
    source = encoded(photo((320, 240)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(load_image, [source] * 20))
    assert warnings.filters == before
