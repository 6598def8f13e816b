"""The detector that ships sees what is in the example photos; its feature is laid out as said."""

from pathlib import Path

import numpy as np
import pytest

from mrnn.data.images import load_image
from mrnn.model.encoder_classes import COUNTED, TAGS, VALUES, read_tag_file
from mrnn.model.image_encoder import SHIPPED, load_encoder

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def scores():
    """best, total, extent and count of each tag that the detector knows, for a photo."""
    encoder, file = load_encoder("ssd-mobilenet-v2"), read_tag_file(SHIPPED / TAGS)
    names = [file.tags[tag].names[0] for tag in file.detector.tags]

    def of(photo):
        feature = encoder.encode(encoder.preprocess(load_image(EXAMPLES / photo)))
        values = feature.reshape(VALUES, -1) / file.detector.scale
        return dict(zip(names, values.T.tolist(), strict=True))

    return of


@pytest.mark.parametrize(
    ("photo", "thing"),
    [("cat.jpg", "cat"), ("coffee.jpg", "cup"), ("photographer.jpg", "person")],
)
def test_it_sees_what_is_there(scores, photo, thing):
    found = scores(photo)
    best, total, extent, count = found[thing]
    assert best == max(each[0] for each in found.values()) > 0.5
    assert best / 3 <= total + 1e-5
    assert 0 < extent <= best
    assert round(count * COUNTED) >= 1


def test_values_are_in_their_ranges(scores):
    for photo in ("stairs.jpg", "raccoon.jpg"):
        best, total, extent, count = np.array(list(scores(photo).values())).T
        assert ((best >= 0) & (best <= 1)).all()
        assert ((total >= 0) & (total <= 1 + 1e-5)).all()
        assert ((extent >= 0) & (extent <= best + 1e-5)).all()
        assert ((best > 0) == (total > 0)).all()
        assert (np.rint(count * COUNTED) > 0).tolist() == (best >= 0.5).tolist()


def test_equal_photos_have_equal_features_alone_and_in_a_row():
    encoder = load_encoder("ssd-mobilenet-v2")
    pixels = encoder.preprocess(load_image(EXAMPLES / "cat.jpg"))
    first = encoder.encode(pixels)
    encoder.encode(encoder.preprocess(load_image(EXAMPLES / "stairs.jpg")))
    assert (encoder.encode(pixels) == first).all()
