import numpy as np
import pytest

from mrnn.model import joint_embedding
from mrnn.model.joint_embedding import JointEmbedding


def embedding_of(parts=1, size=4, seed=0):
    random = np.random.default_rng(seed)
    shapes = {
        "words": (9, parts * size), "image_weight": (parts * size, 5), "image_bias": parts * size,
        "feature_mean": 5, "feature_scale": 5,
    }  # fmt: skip
    arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
    return JointEmbedding(**{n: a.astype(np.float32) for n, a in arrays.items()}, parts=parts)


def unit(vector, parts):
    """By a loop over parts."""
    pieces = [piece / np.linalg.norm(piece) for piece in np.split(vector, parts)]
    return np.concatenate(pieces) / np.sqrt(parts)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_sentence_is_the_sum_of_its_words(parts):
    embedding = embedding_of(parts)
    sentences = [[3, 4], [], [5], [6, 6, 1, 6, 8], np.array([2, 3], np.int32), (7,)]
    found = embedding.embed_text(sentences)
    assert found.dtype == np.float32
    for sentence, vector in zip(sentences, found, strict=True):
        if not len(sentence):
            assert (vector == 0).all()
            continue
        total = sum(embedding.words[word].astype(float) for word in sentence)
        np.testing.assert_allclose(vector, unit(total, parts), atol=1e-6)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_photo_is_a_projection_of_its_power_normalized_feature(parts, dtype):
    embedding = embedding_of(parts)
    features = np.random.default_rng(1).normal(size=(6, 5)).astype(dtype)
    found = embedding.embed_image(features)
    assert found.dtype == np.float32
    for feature, vector in zip(features.astype(float), found, strict=True):
        roots = np.sign(feature) * np.sqrt(np.abs(feature))
        scaled = (roots / np.linalg.norm(roots) - embedding.feature_mean) * embedding.feature_scale
        total = embedding.image_weight @ scaled + embedding.image_bias
        np.testing.assert_allclose(vector, unit(total, parts), atol=1e-6)


@pytest.mark.parametrize("block", [1, 4])
def test_many_are_embedded_as_few(block, monkeypatch):
    embedding, random = embedding_of(2), np.random.default_rng(2)
    sentences = [random.integers(0, 9, length).tolist() for length in (3, 0, 1, 7, 2, 5)]
    features = random.normal(size=(6, 5)).astype(np.float32)
    whole = embedding.embed_text(sentences), embedding.embed_image(features)
    monkeypatch.setattr(joint_embedding, "BLOCK", block)
    parts = embedding.embed_text(sentences), embedding.embed_image(features)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_nothing_gives_nothing():
    embedding = embedding_of(3)
    assert embedding.embed_text([]).shape == (0, 12)
    assert embedding.embed_image(np.zeros((0, 5), np.float32)).shape == (0, 12)


def test_the_order_of_words_does_not_matter_but_the_words_do():
    one, turned, other = embedding_of().embed_text([[3, 4], [4, 3], [3, 5]])
    assert np.allclose(one, turned)
    assert not np.allclose(one, other)


def test_arrays_are_all_but_the_number_of_parts():
    embedding = embedding_of(3)
    again = JointEmbedding(**embedding.arrays, parts=3)
    assert vars(again) == vars(embedding)
