"""Words that no photo has find their place by the network's output layer."""

import numpy as np
import pytest

from mrnn.model.power_normalization import unit_length
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.rare_words import FREQUENT, RARE, embed_rare_words, output_layer, photo_counts


@pytest.fixture
def language():
    """Output rows of unit length, and word vectors that are linear in them."""
    random = np.random.default_rng(0)
    output = unit_length(random.normal(size=(400, 6)))
    output -= output.mean(axis=0)
    mapping = random.normal(size=(6, 4))
    return output, (unit_length(output) @ mapping).astype(np.float32)


def test_rare_words_are_placed_by_their_use_and_the_others_stay(language):
    output, words = language
    photos = np.full(400, 50)
    photos[:20], photos[20:30] = 0, RARE
    untrained = words.copy()
    untrained[:20] = np.random.default_rng(1).normal(size=(20, 4)) * 0.05
    found = embed_rare_words(untrained, output, photos)
    assert (found[20:] == untrained[20:]).all()
    cosines = (unit_length(found[:20]) * unit_length(words[:20])).sum(axis=1)
    assert cosines.min() > 0.9


def test_without_frequent_words_all_stay(language):
    output, words = language
    photos = np.full(400, FREQUENT - 1)
    photos[:20] = 0
    assert (embed_rare_words(words, output, photos) == words).all()


def test_photos_are_counted_not_captions():
    vocabulary = Vocabulary(["a", "dog", "cat"])
    own = [[["a", "dog"], ["a", "dog", "dog"]], [["a", "cat"]], [["dog"]]]
    counts = photo_counts(EncodedCaptions.of(own, vocabulary), len(vocabulary))
    assert dict(zip(vocabulary.words, counts, strict=True)) == {
        **dict.fromkeys(vocabulary.words, 0), "a": 2, "dog": 2, "cat": 1,
    }  # fmt: skip


def test_the_output_layer_has_a_row_a_word(checkpoint):
    found = output_layer(checkpoint)
    assert found.shape[0] == len(checkpoint.vocabulary)
    assert found.dtype == np.float32
