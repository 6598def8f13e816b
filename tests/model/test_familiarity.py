import numpy as np
import pytest
import torch

from mrnn.model.familiarity import (
    BYTES,
    DIRECTIONS,
    HELD_OUT,
    STORED,
    UNFAMILIAR,
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
    distances = familiarity.distance(torch.from_numpy(new))
    for departure, distance in zip(normal(new) - mean, distances, strict=True):
        left = departure - directions.T @ (directions @ departure)
        assert float(distance) == pytest.approx(np.linalg.norm(left), rel=0.02)  # float8


def test_training_photos_are_familiar_and_others_are_not(features, familiarity):
    scores = familiarity.score(torch.from_numpy(features[::HELD_OUT]))
    assert float(scores.median()) == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-3)
    assert float((scores < UNFAMILIAR).float().mean()) == pytest.approx(0.01, abs=0.005)
    strange = torch.randn(5, 100, generator=torch.Generator().manual_seed(2))
    assert (familiarity.score(strange) < 0.05).all()


def test_the_length_of_a_feature_does_not_matter(features, familiarity):
    some = torch.from_numpy(features[:5])
    torch.testing.assert_close(
        familiarity.score(3 * some), familiarity.score(some), atol=1e-3, rtol=0
    )


def test_of_very_many_photos_evenly_spaced_ones_are_taken():
    assert evenly_spaced(range(6_000)) == range(6_000)
    assert evenly_spaced(range(6_001)) == range(0, 6_001, 2)
    assert len(evenly_spaced(range(113_000))) == 5_948


def test_what_others_draw_by_chance_stays_the_same(features):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = Familiarity.of(features), Familiarity.of(features)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.directions, second.directions)


def test_the_mean_and_a_step_along_a_direction_are_familiar(familiarity):
    for step in (0, 0.1, -0.1):
        roots = familiarity.mean + step * familiarity.directions[0]
        assert float(familiarity.score((roots.sign() * roots.square())[None])) > 0.9


def test_directions_are_orthonormal_and_fit_a_byte_a_value(familiarity):
    assert familiarity.directions.shape == (DIRECTIONS, 100)
    product = familiarity.directions @ familiarity.directions.t()
    torch.testing.assert_close(product, torch.eye(DIRECTIONS), atol=0.05, rtol=0)
    for tensor in (familiarity.mean, familiarity.directions):
        assert torch.equal(tensor, tensor.to(STORED).float())


@pytest.mark.parametrize(("size", "count"), [(4, 2), (1280, 7), (2048, 4), (3840, 1), (9000, 1)])
def test_long_features_have_fewer_directions(size, count):
    features = np.random.default_rng(0).random((12, size), dtype=np.float32)
    directions = Familiarity.of(features).directions
    assert directions.shape == (count, size)
    assert (count + 1) * size <= max(BYTES, 2 * size)


def test_few_photos_are_enough_for_a_number():
    features = np.array([[0, 1, 1], [0, 0, 1], [0, 2, 1]], np.float16)
    familiarity = Familiarity.of(features)
    assert familiarity.directions.shape == (1, 3)
    scores = familiarity.score(torch.tensor([[0.0, 0, 1], [0, 4, 2], [5, 1, 1]]))
    assert torch.isfinite(scores).all()
    assert scores[2] < 0.01


@pytest.mark.parametrize("count", [2, 3, 12, 40])
def test_few_photos_of_long_features_are_enough(count):
    """As an encoder gives them: mostly zeros, many more values than photos."""
    generator = np.random.default_rng(count)
    features = generator.exponential(size=(count, 1280)) * (generator.random((count, 1280)) < 0.4)
    scores = Familiarity.of(features.astype(np.float16)).score(
        torch.from_numpy(features.astype(np.float32))
    )
    assert torch.isfinite(scores).all()
