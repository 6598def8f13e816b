import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrnn.errors import ImageError
from mrnn.model import preprocessing
from mrnn.model.preprocessing import crops_of, resize_to_square

GREY = (127, 127, 127)


# The square


@pytest.fixture
def wide():
    """Red, green and blue side by side: 120 x 40."""
    photo = Image.new("RGB", (120, 40), "red")
    photo.paste("lime", (40, 0, 80, 40))
    photo.paste("blue", (80, 0, 120, 40))
    return photo


def test_crop_keeps_the_centre(wide):
    square = np.asarray(resize_to_square(wide, 32, "crop", GREY))
    assert square.shape == (32, 32, 3)
    assert (square == (0, 255, 0)).all()


def test_crop_takes_a_little_less_than_the_shorter_side():
    """Size 224 of 256: of 256 pixels the middle 224, so a border of 16 is lost."""
    photo = Image.new("RGB", (256, 256), "red")
    photo.paste("lime", (16, 16, 240, 240))
    assert (np.asarray(resize_to_square(photo, 224, "crop", GREY)) == (0, 255, 0)).all()


def test_squash_keeps_all(wide):
    square = np.asarray(resize_to_square(wide, 30, "squash", GREY))
    assert square.shape == (30, 30, 3)
    for third, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        assert (square[:, 10 * third + 3 : 10 * third + 7] == colour).all()


def test_pad_keeps_the_aspect_ratio_with_grey_bars(wide):
    square = np.asarray(resize_to_square(wide, 30, "pad", GREY))
    assert square.shape == (30, 30, 3)
    assert (square[:10] == 127).all()
    assert (square[20:] == 127).all()
    for third, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        assert (square[10:20, 10 * third + 3 : 10 * third + 7] == colour).all()
    upright = wide.transpose(Image.Transpose.ROTATE_90)
    rotated = np.asarray(resize_to_square(upright, 30, "pad", GREY))
    np.testing.assert_array_equal(rotated, np.rot90(square))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 3)])
@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_a_square_of_whatever_shape(size, mode):
    square = resize_to_square(Image.new("RGB", size, "red"), 224, mode, GREY)
    assert square.size == (224, 224)
    assert (np.asarray(square) == (255, 0, 0)).all(axis=2).any()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["crop", "squash", "pad"]))
def test_a_photo_of_one_colour_keeps_it(width, height, mode):
    square = np.asarray(resize_to_square(Image.new("RGB", (width, height), "blue"), 20, mode, GREY))
    blue, grey = (square == (0, 0, 255)).all(axis=2), (square == 127).all(axis=2)
    assert (blue | grey).all()
    assert mode == "pad" or blue.all()


# Several crops


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_one_crop_and_its_mirror_image(wide, mode):
    (alone,) = crops_of(wide, 30, mode, GREY)
    np.testing.assert_array_equal(alone, np.asarray(resize_to_square(wide, 30, mode, GREY)))
    both = crops_of(wide, 30, f"{mode}-flip", GREY)
    np.testing.assert_array_equal(both, [alone, alone[:, ::-1]])


def test_ten_crops_are_corners_and_centre_of_256_pixels_and_their_mirror_images():
    """A photo of that height needs no resizing, so each crop is a part of it, pixel for pixel."""
    photo = np.random.default_rng(0).integers(0, 256, (256, 300, 3), dtype=np.uint8)
    crops = [photo[top:, left:] for top, left in ((0, 0), (0, 76), (32, 0), (32, 76), (16, 38))]
    expected = [crop[:224, :224] for crop in crops]
    expected += [crop[:, ::-1] for crop in expected]
    found = crops_of(Image.fromarray(photo), 224, "ten-crop", GREY)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(600, 400), (400, 600), (31, 31), (1, 50)])
def test_ten_crops_show_a_photo_of_whatever_size(size):
    photo = Image.new("RGB", size, "lime")
    assert (crops_of(photo, 40, "ten-crop", GREY) == (0, 255, 0)).all()
    assert crops_of(photo, 40, "ten-crop", GREY).shape == (10, 40, 40, 3)


def test_the_ten_crops_of_a_mirrored_photo_are_the_same_ten(wide):
    mirrored = wide.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crops, others = (crops_of(photo, 30, "ten-crop", GREY) for photo in (wide, mirrored))
    mean, other = crops.mean(axis=0), others.mean(axis=0)
    np.testing.assert_allclose(mean, other, atol=1)  # the middle of an odd number is off by one


@pytest.mark.parametrize("size", [(48, 900), (900, 48)])
def test_ten_crops_of_a_strip_do_without_the_whole_of_it(size, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    strip = Image.fromarray(noise).resize(size)
    whole = crops_of(strip, 64, "ten-crop", GREY)
    monkeypatch.setattr(preprocessing, "LARGEST", 96 * 96)
    single = crops_of(strip, 64, "ten-crop", GREY)
    assert single.shape == (10, 64, 64, 3)
    assert np.abs(single.astype(int) - whole).mean() < 3


def test_ten_crops_of_the_longest_strip():
    crops = crops_of(Image.new("RGB", (1, 1_000_000), "lime"), 64, "ten-crop", GREY)
    assert (crops == (0, 255, 0)).all()


class Huge(Image.Image):
    """A photo for which there is not enough memory."""

    def resize(self, *_):
        raise MemoryError


def test_a_photo_beyond_the_memory_is_an_image_error():
    photo = Huge()
    photo._size = (9, 7)
    with pytest.raises(ImageError, match="a photo of 9 x 7 pixels: too large for the memory"):
        crops_of(photo, 64, "squash", GREY)
