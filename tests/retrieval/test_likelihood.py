import math
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mrnn.model.config import ModelConfig
from mrnn.model.network import Network, state_size
from mrnn.retrieval.likelihood import caption_log_likelihoods, log_likelihoods, log_marginals
from tests.torch_network import torch_network, word_log_likelihoods

SENTENCES = [
    ["a", "red", "wall"],
    ["a", "red"],
    ["the", "wall", "is", "red"],
    ["a", "red", "wall"],
    ["a", "red", "wall", "is", "the", "wall"],
    ["odd"],
    [],
]


@pytest.fixture
def world(checkpoint):
    features = np.random.default_rng(2).normal(size=(150, 7)).astype(np.float32)
    sentences = [checkpoint.vocabulary.encode(words) for words in SENTENCES]
    return checkpoint.network, sentences, features


@pytest.fixture
def expected(checkpoint, world):
    """One forward pass a pair: the words' part and that of `<eos>`."""
    _, sentences, features = world
    oracle = torch_network(checkpoint)
    found = [[word_log_likelihoods(oracle, s, image) for image in features] for s in sentences]
    return np.array([[(nats[:-1].sum(), nats[-1]) for nats in each] for each in found])


def test_all_pairs_equal_one_forward_pass_a_pair(world, expected):
    found = log_likelihoods(*world)
    assert found == pytest.approx(expected.sum(axis=2), abs=1e-4)
    assert (found[0] == found[3]).all()


@pytest.mark.parametrize("captions_at_once", [1, 2, 100])
def test_captions_with_their_own_images_equal_one_forward_pass_each(
    world, expected, captions_at_once, monkeypatch
):
    monkeypatch.setattr("mrnn.retrieval.likelihood.CAPTIONS_AT_ONCE", captions_at_once)
    rows = np.array([149, 3, 3, 3, 0, 70, 3])
    found = caption_log_likelihoods(*world, rows)
    assert found == pytest.approx(expected[np.arange(len(rows)), rows], abs=1e-4)


@pytest.mark.parametrize("captions_at_once", [1, 100])
def test_words_that_count_as_one_cost_the_sum_of_their_probabilities(
    world, captions_at_once, monkeypatch
):
    monkeypatch.setattr("mrnn.retrieval.likelihood.CAPTIONS_AT_ONCE", captions_at_once)
    network, sentences, features = world
    rows = np.array([149, 3, 3, 3, 0, 70, 3])
    unknown = np.zeros(10, dtype=bool)
    unknown[[2, 4, 7, 8]] = True
    plain = caption_log_likelihoods(*world, rows)
    found = caption_log_likelihoods(*world, rows, unknown=unknown)
    assert (found[:, :2] == plain).all()
    for sentence, row, pooled in zip(sentences, rows, found[:, 2], strict=True):
        state, image = network.initial_state(1), network.encode_image(features[[row]])
        nats = 0.0
        for before, word in zip([0, *sentence], sentence, strict=False):
            each, state = network.step(np.array([before]), state, image)
            p = np.exp(each[0].astype(np.float64))
            nats += math.log(p[unknown].sum() if unknown[word] else p[word])
        assert pooled == pytest.approx(nats, abs=1e-5)


def test_no_sentences_and_no_images(world):
    network, sentences, features = world
    assert log_likelihoods(network, [], features).shape == (0, 150)
    assert log_likelihoods(network, sentences, features[:0]).shape == (7, 0)
    nothing = np.arange(0)
    assert caption_log_likelihoods(network, [], features, nothing).shape == (0, 2)


@pytest.mark.parametrize("memory", [1, 40_000, 10**9])
def test_blocks_change_nothing(world, memory, monkeypatch):
    network, sentences, features = world
    whole = log_likelihoods(network, sentences, features)
    monkeypatch.setattr("mrnn.retrieval.likelihood.ROWS_AT_ONCE", 5)
    monkeypatch.setattr("mrnn.retrieval.likelihood.IMAGES_AT_ONCE", 7)
    counts = []
    found = log_likelihoods(network, sentences, features, memory=memory, on_pairs=counts.append)
    assert found == pytest.approx(whole, abs=1e-5)
    assert sum(counts) == whole.size
    assert len(counts) >= math.ceil(len(features) / 7)


class FakeNetwork(Network):
    """In numpy, whose memory can be traced; its weights are random."""

    def __init__(self, config):
        super().__init__(Path(), config, weights=b"")
        random = np.random.default_rng(0)
        sizes = config.multimodal_size, config.vocabulary_size
        self.output = random.normal(size=sizes).astype(np.float32)
        self.image = random.normal(size=(config.image_size, sizes[0])).astype(np.float32)

    def encode_image(self, features):
        return features @ self.image

    def encode_words(self, words, state):
        return np.zeros((len(words), self.config.multimodal_size), np.float32), np.sin(state + 1)

    def fuse(self, language, image):
        logits = np.tanh(language + image) @ self.output
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("layers", [1, 20])
def test_memory_is_that_of_the_budget_however_many_the_sentences(layers):
    config = ModelConfig(
        vocabulary_size=300, image_size=8, embedding_size=8, recurrent_size=32,
        recurrent_layers=layers, multimodal_size=64,
    )  # fmt: skip
    network, random = FakeNetwork(config), np.random.default_rng(0)
    images = random.random((64, 8), dtype=np.float32)
    encoded = 4 * config.multimodal_size * len(images)

    def most(count, memory):
        sentences = [random.integers(3, 300, 6) for _ in range(count)]
        log_likelihoods(network, sentences[:1], images, memory=memory)  # what is kept for good
        tracemalloc.start()
        log_likelihoods(network, sentences, images, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - 4 * count * len(images)  # the result

    budget = 4_000_000
    few, many = most(40 * 20 // layers, budget), most(120 * 20 // layers, budget)
    assert state_size(config) == 32 * layers
    assert budget / 5 < few < budget + encoded
    assert budget / 5 < many < budget + encoded
    assert most(1000, 10**9) > 1.5 * budget  # so the budget is what bounds it


def test_each_prefix_and_each_image_is_encoded_once(world, monkeypatch):
    network, sentences, features = world
    counts = Counter()

    def count(name):
        method = getattr(network, name)

        def counted(first, *rest):
            counts[name] += len(first)
            return method(first, *rest)

        monkeypatch.setattr(network, name, counted)

    for name in ("encode_words", "encode_image", "fuse"):
        count(name)
    log_likelihoods(network, sentences, features)
    prefixes = {tuple(sentence[:end]) for sentence in sentences for end in range(7)}
    assert counts["encode_words"] <= len(prefixes) + 1  # and one to tell the sizes
    assert counts["encode_image"] == len(features)
    assert counts["fuse"] == len(prefixes) * len(features)


def test_only_the_wanted_pairs_are_computed(world, monkeypatch):
    network, sentences, features = world
    whole = log_likelihoods(network, sentences, features)
    wanted = np.random.default_rng(3).random(whole.shape) < 0.1
    assert wanted.any(axis=1).all()
    rows, fuse = [], network.fuse

    def counted(language, image):
        rows.append(len(image))
        return fuse(language, image)

    monkeypatch.setattr(network, "fuse", counted)
    counts = []
    found = log_likelihoods(network, sentences, features, wanted=wanted, on_pairs=counts.append)
    assert found[wanted] == pytest.approx(whole[wanted], abs=1e-5)
    assert (found[~wanted] == -np.inf).all()
    assert sum(counts) == wanted.sum()
    words = np.array([len(sentence) + 1 for sentence in sentences])
    assert 0 < sum(rows) <= (wanted * words[:, None]).sum()


def test_marginals_are_the_mean_over_images_in_log_space(world):
    scores = log_likelihoods(*world)
    mean = np.log(np.exp(scores.astype(np.float64)).mean(axis=1))
    assert log_marginals(scores) == pytest.approx(mean, abs=1e-4)
    far = np.array([[-5000.0, -5001.0], [-1.0, -np.inf]], dtype=np.float32)
    expected = [-5000 + math.log((1 + math.exp(-1)) / 2), -1 - math.log(2)]
    assert log_marginals(far) == pytest.approx(expected)
