import math

import numpy as np
import pytest
import torch

from mrnn.evaluation.perplexity import evaluate_perplexity, perplexity_of, unknown_words
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from tests.torch_network import log_probabilities, torch_network, word_log_likelihoods

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


def over_vocabulary(checkpoint, features, other):
    """The perplexity over `other` as it is defined, a word at a time."""
    network, own = torch_network(checkpoint), checkpoint.vocabulary
    unshared = [word for word in own.words[2:] if word not in other]  # <unk> among them
    bits = []
    for image, sentences in zip(features, CAPTIONS, strict=True):
        for sentence in sentences:
            ids = torch.tensor([[Vocabulary.BOS, *own.encode(sentence)]])
            with torch.no_grad():
                nats = log_probabilities(network, ids, torch.from_numpy(image)[None])[0]
            for probabilities, word in zip(np.exp(nats.double().numpy()), sentence, strict=False):
                events = [word] if word in own and word in other else unshared
                p = sum(probabilities[own.words.index(event)] for event in events)
                bits.append(-math.log2(p))
            bits.append(-nats[-1, Vocabulary.EOS].item() / math.log(2))
    return 2 ** np.mean(bits)


@pytest.mark.parametrize(
    ("words", "shared", "not_shared"),
    [
        ("a red the is", 4, 6),
        ("a wall", 2, 7),
        ("wall blue odd", 2, 7),  # the model lacks odd
        ("zebra", 0, 11),
        ("", 0, 11),
    ],
)
def test_over_another_vocabulary_it_is_that_of_a_word_at_a_time(
    checkpoint, captions, features, words, shared, not_shared
):
    other = Vocabulary(words.split())
    unknown = unknown_words(checkpoint.vocabulary, other)
    plain = evaluate_perplexity(checkpoint.network, captions, features)
    found = evaluate_perplexity(checkpoint.network, captions, features, unknown=unknown)
    expected = over_vocabulary(checkpoint, features, other)
    assert found.perplexity_over_vocabulary == pytest.approx(expected, rel=1e-5)
    assert found.perplexity_over_vocabulary < plain.perplexity  # words put together cost less
    low, high = found.intervals["perplexity_over_vocabulary"]
    assert low <= found.perplexity_over_vocabulary <= high
    assert found.settings["shared_words"] == shared
    assert found.settings["words_not_shared"] == not_shared
    for key in ("perplexity", "perplexity_without_eos"):
        assert getattr(found, key) == pytest.approx(getattr(plain, key), rel=1e-12)


@pytest.mark.parametrize("more", [[], ["odd", "zebra"]])
def test_over_all_words_of_the_model_it_is_the_perplexity(checkpoint, captions, features, more):
    other = Vocabulary([*checkpoint.vocabulary.words[3:], *more])
    unknown = unknown_words(checkpoint.vocabulary, other)
    found = evaluate_perplexity(checkpoint.network, captions, features, unknown=unknown)
    assert found.perplexity_over_vocabulary == pytest.approx(found.perplexity, rel=1e-12)
    intervals = found.intervals
    assert intervals["perplexity_over_vocabulary"] == pytest.approx(intervals["perplexity"])


def test_without_another_vocabulary_there_is_none(checkpoint, captions, features):
    found = evaluate_perplexity(checkpoint.network, captions, features)
    assert found.perplexity_over_vocabulary is None
    assert list(found.intervals) == ["perplexity", "perplexity_without_eos"]


def test_what_no_float_holds_is_infinite_and_what_is_no_number_stays_so():
    assert perplexity_of(math.log(8) * 3, 3) == pytest.approx(8)
    assert perplexity_of(1e4, 10) == math.inf
    assert perplexity_of(math.inf, 10) == math.inf
    assert math.isnan(perplexity_of(math.nan, 10))
