import re

import numpy as np
import pytest
from PIL import Image

from mrnn.data.images import load_image
from tests.example_photos import EXAMPLES, LARGE, PHOTOS, write_photos


def test_they_are_few_and_small():
    assert 5 <= len(PHOTOS) <= 9
    assert sum(file.stat().st_size for file in EXAMPLES.iterdir()) <= 500_000


def test_each_has_a_licence():
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\S+)` \|.*\| (?:CC0|public domain) \|$", table, re.MULTILINE)
    assert rows == [photo.name for photo in PHOTOS]


def test_they_are_kept_as_the_table_says():
    with Image.open(EXAMPLES / "photographer.jpg") as image:
        assert image.mode == "L"
    with Image.open(EXAMPLES / "page.png") as image:
        assert image.has_transparency_data
    with Image.open(EXAMPLES / "raccoon.jpg") as image:
        assert image.height > image.width
    upright = load_image(EXAMPLES / "raccoon.jpg")
    assert upright.width > upright.height


def test_photos_of_each_kind(tmp_path):
    photos = write_photos(tmp_path)
    upright, turned = (np.asarray(load_image(photos[name])) for name in ("upright", "turned"))
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))
    grey = np.asarray(load_image(photos["grey"]))
    assert (grey == grey[..., :1]).all()
    assert load_image(photos["transparent"]).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(photos["tiny"]).size == (20, 14)
    assert load_image(photos["large"]).size == LARGE


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.name)
def test_they_are_photos_that_can_be_read(photo):
    assert load_image(photo).mode == "RGB"
