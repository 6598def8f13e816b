import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.devices import CPU, find_device
from mrnn.training.joint_embedding import train_joint_embedding
from mrnn.training.power_normalization import standardize
from mrnn.training.recipe import JointEmbeddingOptions
from tests.training.test_devices import DEVICES

OPTIONS = JointEmbeddingOptions(size=8, steps=60, batch_size=9, learning_rate=0.02)
WORDS = ("red", "green", "blue")


@pytest.fixture
def walls():
    """Photos of three kinds, each with one to three captions that name its kind."""
    random = np.random.default_rng(0)
    vocabulary = Vocabulary(["a", "wall", *WORDS])
    kinds = np.arange(30) % 3
    features = (np.eye(3)[kinds] * 4 + random.normal(size=(30, 3))).astype(np.float32)
    captions = [[["a", WORDS[kind], "wall"]] * (1 + i % 3) for i, kind in enumerate(kinds)]
    return vocabulary, features, EncodedCaptions.of(captions, vocabulary), kinds


def train(features, captions, vocabulary_size, options):
    return train_joint_embedding(standardize(features, CPU), captions, vocabulary_size, options)


@pytest.mark.parametrize("device", DEVICES)
def test_what_belongs_together_comes_to_lie_together(walls, device):
    vocabulary, features, captions, kinds = walls
    steps = []
    embedding = train_joint_embedding(
        standardize(features, find_device(device)), captions, len(vocabulary), OPTIONS,
        lambda: steps.append(1),
    )  # fmt: skip
    assert len(steps) == OPTIONS.parts * OPTIONS.steps
    sentences = embedding.embed_text([vocabulary.encode([word]) for word in WORDS])
    nearest = (embedding.embed_image(features) @ sentences.T).argmax(axis=1)
    assert (nearest == kinds).mean() > 0.9


def test_features_are_scaled_by_their_deviations(walls):
    vocabulary, features, captions, _ = walls
    embedding = train(features, captions, len(vocabulary), OPTIONS)
    roots = np.sign(features) * np.sqrt(np.abs(features.astype(float)))
    roots /= np.linalg.norm(roots, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding.feature_mean, roots.mean(axis=0), atol=1e-6)
    scale = 1 / (roots.std(axis=0) + 0.05 / 3**0.5)
    np.testing.assert_allclose(embedding.feature_scale, scale, rtol=1e-5)


def test_the_same_seed_gives_the_same_and_other_random_numbers_stay(walls):
    vocabulary, features, captions, _ = walls
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, other = (train(features, captions, len(vocabulary), OPTIONS).arrays for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all((one[name] == other[name]).all() for name in one)


def test_similarity_is_the_mean_of_parts_trained_apart(walls):
    vocabulary, features, captions, _ = walls
    sentences = [[3, 4, 5], [6], [7]]

    def similarity(**changes):
        options = OPTIONS.model_copy(update=changes)
        embedding = train(features, captions, len(vocabulary), options)
        return embedding.embed_text(sentences) @ embedding.embed_image(features).T

    one, other = (similarity(parts=1, seed=seed) for seed in (4, 5))
    assert np.abs(one - other).max() > 0.01
    assert similarity(parts=2, seed=2) == pytest.approx((one + other) / 2, abs=1e-5)


def test_photos_without_captions_and_few_photos_are_no_trouble(walls):
    vocabulary, features, _, _ = walls
    captions = EncodedCaptions([np.array([3, 4])], np.array([1]))
    embedding = train(features[:2], captions, len(vocabulary), OPTIONS)
    assert all(np.isfinite(array).all() for array in embedding.arrays.values())


@pytest.mark.parametrize(
    "change", [{"size": 0}, {"batch_size": 1}, {"word_dropout": 1}, {"seed": -1}, {"rank": 3}]
)
def test_impossible_options_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        JointEmbeddingOptions(**change)
