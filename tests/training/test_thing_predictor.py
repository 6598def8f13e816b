"""Things are predicted from the photos whose captions name them."""

import numpy as np
import pytest

from mrnn.model.quantization import rounded
from mrnn.tokenizer import Vocabulary
from mrnn.training.devices import CPU
from mrnn.training.power_normalization import standardize
from mrnn.training.recipe import ThingPredictorOptions
from mrnn.training.thing_predictor import fit_thing_predictor

VOCABULARY = Vocabulary(["a", "dog", "puppy", "cat", "red", "hot"])


def photos(count, seed=0):
    """The first value of a feature tells dogs from cats, the second is noise."""
    random = np.random.default_rng(seed)
    is_dog = random.random(count) < 0.5
    features = random.random((count, 3)).astype(np.float32)
    features[:, 0] = np.where(is_dog, 1.0, 0.01) + 0.1 * random.random(count)
    words = [["a", "puppy"], ["a", "dog"]], [["a", "cat"], ["red"]]
    return features, [words[0] if dog else words[1] for dog in is_dog], is_dog


def fit(features, captions, **options):
    asked = ThingPredictorOptions(**options)
    return fit_thing_predictor(standardize(features, CPU), captions, VOCABULARY, asked)


def test_what_a_photo_shows_is_likely_to_be_named():
    features, captions, _ = photos(200)
    predictor = fit(features, captions, penalty=1e-4)
    unseen, _, is_dog = photos(100, seed=1)
    (cat,) = predictor.named(VOCABULARY.encode(["cat"]))
    (dog,) = predictor.named(VOCABULARY.encode(["puppy"]))
    found = predictor.probabilities(unseen)
    assert ((found[:, dog] > 0.5) == is_dog).mean() > 0.95
    assert (found[:, cat] + found[:, dog]) == pytest.approx(np.ones(100), abs=0.05)


def test_a_large_penalty_leaves_the_frequency():
    features, captions, is_dog = photos(200)
    predictor = fit(features, captions, penalty=1e4)
    (dog,) = predictor.named(VOCABULARY.encode(["dog"]))
    assert predictor.probabilities(features)[:, dog] == pytest.approx(
        np.full(200, is_dog.mean()), abs=0.01
    )


def test_things_that_are_named_seldom_are_left_out_but_hide_what_is_in_them():
    features, captions, _ = photos(200)
    captions = [*captions[:-1], [["a", "hot", "dog"]]]
    predictor = fit(features, captions)
    assert len(predictor.bias) == 2
    assert predictor.named(VOCABULARY.encode(["a", "hot", "dog"])) == frozenset()
    assert fit(features, captions, min_count=150) is None


def test_the_same_data_give_the_same_fit_rounded_as_stored():
    features, captions, _ = photos(60)
    one, other = fit(features, captions), fit(features, captions)
    assert all((one.arrays[name] == other.arrays[name]).all() for name in one.arrays)
    assert (rounded(one.weight) == one.weight).all()
