import numpy as np
import pytest
from PIL import Image

from mrnn.data.images import load_image
from tests.data.photo_files import encoded, half_red_half_blue


@pytest.fixture
def turned():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    return encoded(half_red_half_blue(), "AVIF", exif=exif)


def test_the_photo_is_turned_without_exif(turned):
    loaded = load_image(turned)
    assert loaded.size == (16, 32)
    np.testing.assert_allclose(loaded.getpixel((8, 2)), (255, 0, 0), atol=5)


@pytest.mark.parametrize("damage", [b"\0", b"\xff", b"nonsense", bytes(12)])
def test_exif_may_be_damaged(turned, damage):
    place = turned.index(b"MM\0*")
    for start in (place, place + 4, place + 10):
        source = turned[:start] + damage + turned[start + len(damage) :]
        np.testing.assert_array_equal(load_image(source), load_image(turned))
