import math

import numpy as np
import pytest

from mrnn.evaluation.perplexity import evaluate_perplexity, perplexity_of
from mrnn.tokenizer import EncodedCaptions
from tests.torch_network import torch_network, word_log_likelihoods

CAPTIONS = [[["a", "red", "wall"], ["the", "odd", "wall"]], [["the", "wall", "is", "blue", "odd"]]]


@pytest.fixture
def captions(vocabulary):
    return EncodedCaptions.of(CAPTIONS, vocabulary)


@pytest.fixture
def features():
    return np.random.default_rng(1).random((2, 7), dtype=np.float32)


def test_equals_a_word_at_a_time(checkpoint, captions, features):
    """2 ** -(mean log2 P), in one forward pass a caption."""
    oracle = torch_network(checkpoint)
    rows = zip(captions.sentences, captions.image_rows, strict=True)
    nats = [word_log_likelihoods(oracle, words, features[row]) for words, row in rows]
    bits = -np.concatenate(nats) / math.log(2)
    words = -np.concatenate([each[:-1] for each in nats]) / math.log(2)
    assert (len(bits), len(words)) == (14, 11)
    found = evaluate_perplexity(checkpoint.network, captions, features)
    assert found.perplexity == pytest.approx(2 ** bits.mean(), rel=1e-5)
    assert found.perplexity_without_eos == pytest.approx(2 ** words.mean(), rel=1e-5)
    assert found.settings == {
        "words": 11,
        "unknown_words": 2,
        "vocabulary_words": 10,
        "perplexity": "words, <unk> and <eos> counted",
        "perplexity_without_eos": "the same without <eos>",
    }


def test_a_network_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(
    checkpoint, captions, features, monkeypatch
):
    def uniform(language, image):
        return np.full((len(language), 10), -math.log(10), np.float32)

    monkeypatch.setattr(checkpoint.network, "fuse", uniform)
    found = evaluate_perplexity(checkpoint.network, captions, features)
    assert found.perplexity == pytest.approx(10)
    assert found.intervals["perplexity"] == pytest.approx((10, 10))


def test_intervals_are_over_images(checkpoint, captions, features):
    def intervals(seed):
        found = evaluate_perplexity(checkpoint.network, captions, features, seed=seed, resamples=9)
        return found, found.intervals

    found, first = intervals(0)
    for key in ("perplexity", "perplexity_without_eos"):
        low, high = first[key]
        assert low <= getattr(found, key) <= high
    assert first == intervals(0)[1] != intervals(1)[1]
    one = EncodedCaptions(captions.sentences[:2], captions.image_rows[:2])
    alone = evaluate_perplexity(checkpoint.network, one, features[:1])
    # Sampled again and again, one image is itself.
    assert alone.intervals["perplexity"] == pytest.approx((alone.perplexity, alone.perplexity))


def test_what_no_float_holds_is_infinite_and_what_is_no_number_stays_so():
    assert perplexity_of(math.log(8) * 3, 3) == pytest.approx(8)
    assert perplexity_of(1e4, 10) == math.inf
    assert perplexity_of(math.inf, 10) == math.inf
    assert math.isnan(perplexity_of(math.nan, 10))
