"""Exact log-probabilities, against the network word by word, one hypothesis at a time."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrnn.captioning.hypotheses import Hypothesis
from mrnn.captioning.rescoring import rescore
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import EncoderIdentity
from mrnn.tokenizer import Vocabulary
from tests.conftest import trained_model

WORDS = st.integers(2, 9)
PENALTY = 0.6


def found_by_search(sentences):
    """Hypotheses whose scores are wrong, as an approximate search leaves them."""
    return [[Hypothesis(tuple(words), (9.0,) * (len(words) + 1), 9.0) for words in own]
            for own in sentences]  # fmt: skip


def word_by_word(network, image, words):
    state, last, nats = network.initial_state(1), Vocabulary.BOS, []
    for word in (*words, Vocabulary.EOS):
        log_probabilities, state = network.step(np.array([last]), state, image[None])
        nats.append(float(log_probabilities[0, word]))
        last = word
    return nats


def images_of(network, count):
    features = np.random.default_rng(count).normal(size=(count, network.config.image_size))
    return network.encode_image(features.astype(np.float32))


def check(network, sentences):
    images = images_of(network, len(sentences))
    rescored = rescore(network, images, found_by_search(sentences), PENALTY)
    assert [[list(each.words) for each in own] for own in rescored] == sentences
    for image, own in zip(images, rescored, strict=True):
        for hypothesis in own:
            nats = word_by_word(network, image, hypothesis.words)
            assert hypothesis.word_log_probabilities == pytest.approx(nats, abs=1e-5)
            assert all(type(each) is float for each in hypothesis.word_log_probabilities)
            assert hypothesis.score == pytest.approx(sum(nats) / len(nats) ** PENALTY, abs=1e-5)


@pytest.mark.parametrize(
    "sentences",
    [
        [[[3]]],
        [[[]]],
        [[[3, 4, 5], [3, 4], [3, 4, 6, 7], [3], [4, 3, 4, 5]]],
        [[[3, 4], [3, 4]]],
        [[[3, 4, 5]], [[3, 4, 6]], [[3, 4, 5]]],
        [[], [[3, 4, 5, 6, 7, 8, 9]], [], [[5]]],
    ],
    ids=["one word", "no word", "prefixes", "equal", "photos", "photos without"],
)
def test_hypotheses_of_each_form(checkpoint, sentences):
    check(checkpoint.network, sentences)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    """A network whose state has several parts."""
    identity = EncoderIdentity(
        name="colour", layer="mean", resize_mode="squash", size=8, feature_size=7, weights=""
    )
    vocabulary = Vocabulary(["a", "wall", "red", "green", "blue", "is", "the"])
    folder = tmp_path_factory.mktemp("lstm")
    layers = {"recurrence": "lstm", "recurrent_layers": 2}
    trained_model(vocabulary, SimpleNamespace(identity=identity), **layers).save(folder)
    return Checkpoint.load(folder).network


@settings(max_examples=40)
@given(st.lists(st.lists(st.lists(WORDS, max_size=5), max_size=6), max_size=4))
def test_any_hypotheses(lstm, sentences):
    check(lstm, sentences)


def test_nothing_to_rescore(checkpoint):
    images = images_of(checkpoint.network, 2)
    assert rescore(checkpoint.network, images[:0], [], PENALTY) == []
    assert rescore(checkpoint.network, images, [[], []], PENALTY) == [[], []]
