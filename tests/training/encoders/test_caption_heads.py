"""The heads that an encoder is fine-tuned by."""

import math

import numpy as np
import pytest
import torch

from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.cider_vectors import reference_vectors
from mrnn.training.encoders.caption_heads import CaptionHeads, leading_directions

WORDS = [
    [["a", "dog", "runs"], ["one", "dog"]],
    [["a", "cat", "sits"], ["a", "cat"]],
    [["two", "dogs", "play"], ["dogs", "play", "here"]],
    [["a", "dog", "sits"]],
]


@pytest.fixture
def captions():
    vocabulary = Vocabulary.build((words for own in WORDS for words in own), 1)
    return EncodedCaptions.of(WORDS, vocabulary), len(vocabulary)


def test_directions_keep_the_products_of_reference_vectors(captions):
    encoded, _ = captions
    own = encoded.by_image
    assert [len(sentences) for sentences in own] == [2, 2, 2, 1]
    ngrams = {
        tuple(sentence[start : start + length])
        for sentences in own
        for sentence in sentences
        for length in (1, 2, 3, 4)
        for start in range(len(sentence) - length + 1)
    }

    def idf(ngram):
        has = sum(
            any(
                tuple(sentence[start : start + len(ngram)]) == ngram
                for sentence in sentences
                for start in range(len(sentence))
            )
            for sentences in own
        )
        return math.log(4 / has)

    rows = {ngram: row for row, ngram in enumerate(sorted(ngrams))}
    vectors = reference_vectors(own, rows, idf).to_dense().numpy() * 10 / 4  # CIDEr-D's scale
    centred = vectors - vectors.mean(0)
    found = leading_directions(encoded).numpy()
    assert np.allclose(found @ found.T, centred @ centred.T, atol=1e-5)


def test_error_is_a_fraction_of_that_of_the_mean(captions):
    encoded, words = captions
    torch.manual_seed(0)
    features = torch.rand(4, 6)
    heads = CaptionHeads(features, encoded, words)
    with torch.no_grad():
        heads.cider.weight.zero_()
        heads.cider.bias.zero_()
    assert heads.cider_loss(features, torch.arange(4)).item() == pytest.approx(1)


def test_begins_with_a_regression(captions):
    encoded, words = captions
    torch.manual_seed(0)
    features = torch.rand(4, 6)
    heads = CaptionHeads(features, encoded, words)
    losses = [heads.cider_loss(features, torch.arange(4)).item() for _ in range(50)]
    assert np.mean(losses) < 0.95


def test_slopes_are_finite_where_a_feature_is_zero(captions):
    encoded, words = captions
    features = torch.rand(4, 6)
    features[:, 2] = 0
    heads = CaptionHeads(features, encoded, words)
    features.requires_grad_(True)
    sentences = [sentence.tolist() for sentence in encoded.sentences[:4]]
    loss = heads.cider_loss(features, torch.arange(4)) + heads.joint_loss(features, sentences)
    loss.backward()
    assert torch.isfinite(features.grad).all()


def test_joint_loss_is_low_where_each_sentence_names_its_photo(captions):
    encoded, words = captions
    features = torch.eye(4) * 3
    heads = CaptionHeads(features, encoded, words)
    sentences = [[5], [6], [7], [8]]
    with torch.no_grad():
        before = heads.joint_loss(features, sentences).item()
        heads.joint.image.weight.zero_()
        heads.joint.image.bias.zero_()
        heads.joint.words.weight.zero_()
        for photo in range(4):
            heads.joint.image.weight[photo, photo] = 1
            heads.joint.words.weight[5 + photo, photo] = 1
        after = heads.joint_loss(features, sentences).item()
        similarity = heads.similarity(features, sentences)
    assert after < before
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]
