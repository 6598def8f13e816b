import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrnn.errors import DataError
from mrnn.retrieval.nearest import PHOTOS_AT_ONCE, FeatureSpace

GENERATOR = np.random.default_rng(0)
TRAINING = GENERATOR.normal(size=(40, 5)).astype(np.float32)
PHOTOS = GENERATOR.normal(size=(PHOTOS_AT_ONCE + 3, 5)).astype(np.float32)


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


@given(
    training=arrays(np.float16, st.tuples(st.integers(1, 30), st.just(3)),
                    elements=st.sampled_from([0.0, 0.5, 1.0, 1000.0])),
    photo=arrays(np.float16, (1, 3), elements=st.sampled_from([0.5, 1.0, 3.0])),
    count=st.integers(1, 12),
    distance=st.sampled_from(["cosine", "euclidean"]),
)  # fmt: skip
def test_ties_are_by_row_and_bounds_of_rounding_lose_no_photo(training, photo, count, distance):
    """Against distances in float64, which tie exactly for equal features."""
    (nearest,) = FeatureSpace(training, distance).nearest(photo, count)
    vectors, ours = training.astype(np.float64), photo[0].astype(np.float64)
    squares = ((vectors - ours) ** 2).sum(axis=1)
    least = 1e-6 * (ours**2).sum()
    if distance == "cosine":
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        squares = 2 - 2 * vectors @ ours / lengths / np.linalg.norm(ours)
        least = 1e-6
    expected = [row for row in np.lexsort([squares.round(9)]) if squares[row] > least][:count]
    assert squares[nearest.places] == pytest.approx(squares[expected])
    assert len(set(nearest.places.tolist())) == len(expected)
    for one, other in zip(nearest.places[:-1], nearest.places[1:], strict=True):
        if (training[one] == training[other]).all():
            assert one < other


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_training_photos_are_held_once_in_float32(distance):
    training = np.random.default_rng(0).random((2000, 200)).astype(np.float16)
    tracemalloc.start()
    space = FeatureSpace(training, distance)
    space.nearest(training[:150], 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 150 * 2000 * 4
    assert peak < 4 * training.size + 2 * block
