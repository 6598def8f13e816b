"""A photo's CIDEr vector is drawn to those of photos of text with similar captions."""

import numpy as np
import pytest
import torch

from mrnn.tokenizer import EncodedCaptions
from mrnn.training import text_neighbours
from mrnn.training.cider_predictor import fit_cider_predictor
from mrnn.training.recipe import CiderPredictorOptions, NeighbourOptions
from mrnn.training.text_neighbours import TextNeighbours

OPTIONS = NeighbourOptions(count=3, similarity=0.5, temperature=0.2)


def random_vectors(seed, count):
    random = np.random.default_rng(seed)
    return random.random((count, 6)) * (random.random((count, 6)) > 0.4) + np.eye(6)[seed]


def joined(own, text, options=OPTIONS):
    sparse = (torch.from_numpy(each).to_sparse() for each in (text, own))
    return TextNeighbours(next(sparse), options).join(next(sparse)).to_dense().numpy()


def test_it_is_a_kernel_regression_over_the_nearest():
    own, text = random_vectors(0, 5), random_vectors(1, 8)
    found = joined(own, text)
    for vector, row in zip(own, found, strict=True):
        cosine = text @ vector / np.linalg.norm(text, axis=1) / np.linalg.norm(vector)
        nearest = np.argsort(-cosine)[:3]
        counts = np.exp((cosine[nearest] - 0.5) / 0.2)
        expected = (vector + counts @ text[nearest]) / (1 + counts.sum())
        assert row == pytest.approx(expected, abs=1e-6)


def test_blocks_are_as_all_at_once(monkeypatch):
    own, text = random_vectors(2, 7), random_vectors(3, 9)
    whole = joined(own, text)
    monkeypatch.setattr(text_neighbours, "COSINES", 30)
    assert np.allclose(joined(own, text), whole, atol=1e-12)


def test_unlike_text_changes_nothing_and_a_small_one_is_enough():
    own, text = np.eye(6)[:2], np.eye(6)[3:4]
    options = OPTIONS.model_copy(update={"temperature": 0.01})
    assert np.allclose(joined(own, text, options), own, atol=1e-12)


def test_photos_without_words_stay_empty():
    own, text = np.zeros((1, 6)), np.zeros((2, 6))
    assert np.array_equal(joined(own, text), own)


def test_the_predictor_expects_what_similar_captions_of_the_text_say():
    """Photos of dogs say nothing of grass, but the text does where it tells of dogs."""
    dog, cat, runs, grass, sofa = range(4, 9)
    captions = [[[dog, runs]], [[cat, runs]]] * 4
    rows = np.arange(8)
    encoded = EncodedCaptions([np.array(own[0], np.int32) for own in captions], rows)
    features = np.array([[1, 0], [0, 1]] * 4, np.float32)
    captions_with_grass = [[[dog, runs], [dog, grass]], [[cat, runs], [cat, sofa]]] * 3
    encoded_more = EncodedCaptions(
        [*encoded.sentences, np.array([grass], np.int32), np.array([sofa], np.int32)],
        np.array([*rows, 8, 9]),
    )
    features = np.concatenate([features, np.full((2, 2), 0.5, np.float32)])
    options = CiderPredictorOptions(
        penalty=0.01, neighbours=NeighbourOptions(similarity=0.3, temperature=0.1)
    )
    alone = fit_cider_predictor(features, encoded_more, options)
    with_text = fit_cider_predictor(features, encoded_more, options, captions_with_grass)
    sentences = [[[dog, grass], [dog, sofa]]]
    before, after = (p.score(sentences, features[:1])[0] for p in (alone, with_text))
    assert after[0] - after[1] > before[0] - before[1] + 0.1
