import numpy as np
import pytest
from PIL import Image

from mrnn.data.image_files import pixels
from mrnn.data.image_files.pixels import image_of, to_rgb, upright
from tests.data.photo_files import photo


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16", "I;16B"]
)
def test_opaque_modes(mode):
    rgb = to_rgb(Image.new(mode, (3, 2), 1))
    assert (rgb.mode, rgb.size) == ("RGB", (3, 2))


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA", "RGBa"])
def test_modes_with_transparency(mode):
    seen = Image.new("RGBA", (3, 2), (200, 200, 200, 255))
    seen.putpixel((0, 0), (0, 0, 0, 0))
    rgb = to_rgb(seen.convert(mode))
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    np.testing.assert_allclose(rgb.getpixel((1, 1)), 200, atol=12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "I", "F", "I;16"])
def test_bands_make_no_difference(mode, monkeypatch):
    image = photo((7, 50)).convert("L")
    if mode == "P":
        image = image.convert("P")
        image.info["transparency"] = bytes(range(256))
    elif mode.endswith("A"):
        image = image.convert("LA")
        image.putalpha(photo((7, 50)).convert("L").rotate(180))
        image = image.convert("RGBA").convert(mode)
    else:
        values = np.asarray(image).astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode])
        image = Image.fromarray(values * 200)
    assert image.mode == mode
    whole = to_rgb(image)
    monkeypatch.setattr(pixels, "BAND", 30)
    np.testing.assert_array_equal(to_rgb(image), whole)


def test_rgb_is_not_copied():
    image = photo()
    assert to_rgb(image) is image
    assert upright(image) is image


def test_an_8_bit_image_of_an_array():
    assert image_of(np.full((2, 3), 65535, np.uint16), "a").getpixel((0, 0)) == 255
