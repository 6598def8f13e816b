import numpy as np
import pytest

from mrnn.errors import DataError
from mrnn.retrieval.nearest import PHOTOS_AT_ONCE as AT_ONCE, FeatureSpace

GENERATOR = np.random.default_rng(0)
TRAINING = GENERATOR.normal(size=(40, 5)).astype(np.float32)
PHOTOS = GENERATOR.normal(size=(AT_ONCE + 3, 5)).astype(np.float32)


def plain(photo, distance):
    """All training photos, nearest first, and how far they are."""
    if distance == "cosine":
        lengths = np.linalg.norm(TRAINING, axis=1) * np.linalg.norm(photo)
        far = 1 - TRAINING @ photo / lengths
    else:
        far = np.linalg.norm(TRAINING - photo, axis=1)
    order = np.argsort(far)
    return order, far[order]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("count", [1, 7, 39, 40, 1000])
def test_equals_the_plain_way(distance, count):
    found = FeatureSpace(TRAINING, distance).nearest(PHOTOS, count)
    assert len(found) == len(PHOTOS)
    for photo, nearest in zip(PHOTOS, found, strict=True):
        places, distances = plain(photo, distance)
        assert nearest.places.tolist() == places[:count].tolist()
        np.testing.assert_allclose(nearest.distances, distances[:count], rtol=1e-4, atol=1e-6)


def test_of_equally_near_photos_the_first_count():
    for count in (1, 10, 19, 20, 30):
        (nearest,) = FeatureSpace(np.ones((20, 3))).nearest(np.array([[1.0, 2.0, 3.0]]), count)
        assert nearest.places.tolist() == list(range(min(count, 20)))


def test_neighbours_in_another_space():
    space = FeatureSpace(TRAINING, "euclidean", lambda features: features[:, :1])
    nearest = space.nearest(PHOTOS[:1], 3)[0]
    far = np.abs(TRAINING[:, 0] - PHOTOS[0, 0])
    assert nearest.places.tolist() == np.argsort(far)[:3].tolist()


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_photo_itself_is_no_neighbour_even_rounded(distance):
    half = TRAINING.astype(np.float16)
    for place, nearest in enumerate(FeatureSpace(half, distance).nearest(TRAINING, 1000)):
        assert sorted(nearest.places.tolist()) == [p for p in range(40) if p != place]


def test_features_of_another_size_are_refused():
    with pytest.raises(
        DataError,
        match=r"^A feature has 3 values, but those of the training photos have 5; take both from",
    ):
        FeatureSpace(TRAINING).nearest(PHOTOS[:, :3], 1)
