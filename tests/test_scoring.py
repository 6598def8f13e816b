import math

import numpy as np
import pytest
import torch

from mrnn.batching import EncodedCaptions, batches
from mrnn.scoring import perplexity, perplexity_of

CAPTIONS = [[["a", "red", "wall"], ["the", "odd", "wall"]], [["the", "wall", "is", "blue", "odd"]]]


@pytest.fixture
def world(checkpoint):
    features = np.random.default_rng(1).random((2, 7), dtype=np.float32)
    return checkpoint, EncodedCaptions.of(CAPTIONS, checkpoint.vocabulary), features


def naive_perplexity(checkpoint, features):
    """A sentence and a word at a time; 2 ** -(mean log2 P)."""
    bits, count = 0.0, 0
    for image, sentences in zip(features, CAPTIONS, strict=True):
        for sentence in sentences:
            ids = [0, *checkpoint.vocabulary.encode(sentence), 1]
            with torch.no_grad():
                logits = checkpoint.model(torch.tensor([ids[:-1]]), torch.tensor(image)[None])
            for place, word in enumerate(ids[1:]):
                bits -= math.log2(float(logits[0, place].softmax(0)[word]))
                count += 1
    assert count == 4 + 4 + 6
    return 2 ** (bits / count)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_equals_the_naive_loop_whatever_the_batches(world, size):
    checkpoint, captions, features = world
    found = perplexity(checkpoint.model, batches(captions, features, size))
    assert found == pytest.approx(naive_perplexity(checkpoint, features), rel=1e-5)


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large(world):
    checkpoint, captions, features = world
    with torch.no_grad():
        for parameter in checkpoint.model.parameters():
            parameter.zero_()
    found = perplexity(checkpoint.model, batches(captions, features, 2))
    assert found == pytest.approx(len(checkpoint.vocabulary))


def test_what_no_float_holds_is_infinite_and_what_is_no_number_stays_so():
    assert perplexity_of(math.log(8) * 3, 3) == pytest.approx(8)
    assert perplexity_of(1e4, 10) == math.inf
    assert perplexity_of(math.inf, 10) == math.inf
    assert math.isnan(perplexity_of(math.nan, 10))
