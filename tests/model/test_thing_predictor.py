"""The thing predictor reads captions as the metric of inventions does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.metrics.inventions import Things
from mrnn.model.power_normalization import power_normalize
from mrnn.model.thing_predictor import NOTHING, PADDING, ThingPredictor
from mrnn.tokenizer import Vocabulary

WORDS = ["a", "hot", "dog", "dogs", "man", "couple", "of", "bear", "teddy", "eats"]
VOCABULARY = Vocabulary(WORDS)
THINGS = Things.parse(
    "nothing: couple of\nperson: man, couple\ndog: dogs\nhot dog:\nbear:\nteddy bear:\n"
)
NAMES = sorted(THINGS.names)


def predictor(weight=None, bias=None, mean=(0.0, 0.0)):
    phrases = [
        (VOCABULARY.encode(phrase), NAMES.index(thing) if thing in NAMES else NOTHING)
        for own in THINGS.phrases.values()
        for phrase, thing in own
    ]
    ids = [[*phrase, *[PADDING] * (2 - len(phrase))] for phrase, _ in phrases]
    count = len(NAMES)
    return ThingPredictor(
        weight=np.zeros((count, 2), np.float32) if weight is None else weight,
        bias=np.zeros(count, np.float32) if bias is None else bias,
        feature_mean=np.array(mean, np.float32),
        phrase_ids=np.array(ids, np.int32),
        phrase_thing=np.array([thing for _, thing in phrases], np.int32),
    )


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_it_finds_the_things_of_the_metric(words):
    found = predictor().named(VOCABULARY.encode(words))
    assert {NAMES[thing] for thing in found} == THINGS.named(words)


def test_probabilities_are_those_of_the_regressions():
    random = np.random.default_rng(0)
    weight = random.normal(size=(len(NAMES), 2)).astype(np.float32)
    bias = random.normal(size=len(NAMES)).astype(np.float32)
    features = random.random((3, 2)).astype(np.float32)
    found = predictor(weight, bias, (0.5, 0.25)).probabilities(features)
    logits = (power_normalize(features) - (0.5, 0.25)) @ weight.T + bias
    assert found == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


def test_expected_inventions_are_of_the_things_that_a_sentence_names():
    bias = np.array([np.log(p / (1 - p)) for p in (0.1, 0.2, 0.3, 0.4, 0.5)], np.float32)
    sentences = [["a", "man", "eats", "a", "hot", "dog"], ["a", "man", "man"], ["eats"], []]
    own = [VOCABULARY.encode(words) for words in sentences]
    (found,) = predictor(bias=bias).expected_inventions([own], np.ones((1, 2), np.float32))
    chance = dict(zip(NAMES, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    hot_dog, person = 1 - chance["hot dog"], 1 - chance["person"]
    assert found == pytest.approx([person + hot_dog, person, 0, 0], abs=1e-6)
    (support,) = predictor(bias=bias).support([own], np.ones((1, 2), np.float32))
    assert support == pytest.approx(
        [2 / 4 - person - hot_dog, 1 / 4 - person, 0, 0], abs=1e-6
    )  # P - 3/4 is 1/4 - (1 - P)
