import numpy as np
import pytest

from mrnn.model.familiarity import (
    DIRECTIONS,
    HELD_OUT,
    STORED,
    UNFAMILIAR,
    VALUES,
    Familiarity,
    evenly_spaced,
)


@pytest.fixture
def features():
    """Photos that vary along 10 of 100 directions, and a little along all."""
    generator = np.random.default_rng(0)
    along = 5 + generator.normal(size=(2000, 10)) @ generator.normal(size=(10, 100))
    return (along + 0.3 * generator.normal(size=(2000, 100))).astype(np.float32)


@pytest.fixture
def familiarity(features):
    return Familiarity.of(features)


def test_distance_is_what_the_principal_directions_leave(features, familiarity):
    def normal(photos):
        roots = np.sign(photos) * np.sqrt(np.abs(photos))
        return roots / np.linalg.norm(roots, axis=1, keepdims=True)

    learned = normal(features[np.arange(len(features)) % HELD_OUT > 0])
    mean = learned.mean(0)
    *_, directions = np.linalg.svd(learned - mean, full_matrices=False)
    directions = directions[:DIRECTIONS]
    new = np.random.default_rng(1).normal(size=(5, 100)).astype(np.float32)
    distances = familiarity.distance(new)
    for departure, distance in zip(normal(new) - mean, distances, strict=True):
        left = departure - directions.T @ (directions @ departure)
        assert float(distance) == pytest.approx(np.linalg.norm(left), rel=1e-3)


def test_training_photos_are_familiar_and_others_are_not(features, familiarity):
    scores = familiarity.score(features[::HELD_OUT])
    assert np.median(scores) == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    assert (scores < UNFAMILIAR).mean() == pytest.approx(0.01, abs=0.005)
    strange = np.random.default_rng(2).normal(size=(5, 100))
    assert (familiarity.score(strange) < 0.05).all()


def test_the_length_of_a_feature_does_not_matter(features, familiarity):
    scores = familiarity.score(features[:5])
    np.testing.assert_allclose(familiarity.score(3 * features[:5]), scores, atol=1e-3)


def test_of_very_many_photos_evenly_spaced_ones_are_taken():
    assert evenly_spaced(range(6_000)) == range(6_000)
    assert evenly_spaced(range(6_001)) == range(0, 6_001, 2)
    assert len(evenly_spaced(range(113_000))) == 5_948


def test_the_same_features_give_the_same_statistics(features, familiarity):
    again = Familiarity.of(features)
    assert (again.mean == familiarity.mean).all()
    assert (again.directions == familiarity.directions).all()
    assert (again.median, again.edge) == (familiarity.median, familiarity.edge)


def test_a_score_is_a_logistic_function_of_the_distance():
    familiarity = Familiarity(np.zeros(3, np.float32), np.eye(1, 3, dtype=np.float32), 0.5, 0.7)
    features = np.array([[1, 0, 0], [1, 1, 0], [0, 9, 9]], np.float32)
    distances = familiarity.distance(features)
    np.testing.assert_allclose(distances, [0, 0.5**0.5, 1], atol=1e-6)
    expected = 1 / (1 + np.exp(-(0.7 - distances) / 0.05))
    np.testing.assert_allclose(familiarity.score(features), expected, rtol=1e-5)


def test_a_distance_however_great_has_a_score():
    familiarity = Familiarity(np.zeros(2, np.float32), np.zeros((1, 2), np.float32), 0.0, 1e-5)
    assert familiarity.score(np.ones((1, 2), np.float32)).tolist() == [0]


def test_the_mean_and_a_step_along_a_direction_are_familiar(familiarity):
    for step in (0, 0.1, -0.1):
        roots = familiarity.mean + step * familiarity.directions[0]
        assert familiarity.score((np.sign(roots) * roots**2)[None]) > 0.9


def test_directions_are_orthonormal_and_rounded_as_stored(familiarity):
    assert familiarity.directions.shape == (DIRECTIONS, 100)
    product = familiarity.directions @ familiarity.directions.T
    np.testing.assert_allclose(product, np.eye(DIRECTIONS), atol=1e-3)
    for array in (familiarity.mean, familiarity.directions):
        assert array.dtype == np.float32
        assert (array == array.astype(STORED)).all()


@pytest.mark.parametrize(("size", "count"), [(4, 2), (1280, 7), (2048, 4), (3840, 1), (9000, 1)])
def test_long_features_have_fewer_directions(size, count):
    features = np.random.default_rng(0).random((12, size), dtype=np.float32)
    directions = Familiarity.of(features).directions
    assert directions.shape == (count, size)
    assert (count + 1) * size <= max(VALUES, 2 * size)


def test_few_photos_are_enough_for_a_number():
    features = np.array([[0, 1, 1], [0, 0, 1], [0, 2, 1]], np.float16)
    familiarity = Familiarity.of(features)
    assert familiarity.directions.shape == (1, 3)
    scores = familiarity.score(np.array([[0, 0, 1], [0, 4, 2], [5, 1, 1]], np.float16))
    assert np.isfinite(scores).all()
    assert scores[2] < 0.01


@pytest.mark.parametrize("count", [2, 3, 12, 40])
def test_few_photos_of_long_features_are_enough(count):
    """As an encoder gives them: mostly zeros, many more values than photos."""
    generator = np.random.default_rng(count)
    features = generator.exponential(size=(count, 1280)) * (generator.random((count, 1280)) < 0.4)
    scores = Familiarity.of(features.astype(np.float16)).score(features)
    assert np.isfinite(scores).all()
