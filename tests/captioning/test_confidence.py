"""Signals of a caption and its photo, and the confidence that a captioner makes of them."""

from dataclasses import replace

import numpy as np
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.confidence import signals_of
from mrnn.captioning.results import Caption, Word
from mrnn.data.images import load_image
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.confidence import Signals
from mrnn.model.config import DecodingOptions
from tests.model.test_thing_predictor import VOCABULARY as THINGS_VOCABULARY
from tests.model.test_thing_predictor import predictor

COUNT = len(Signals._fields)


def caption(text, *log_probabilities, end=-0.5):
    pairs = zip(text.split(), log_probabilities, strict=True)
    words = tuple(Word(word=word, log_probability=value) for word, value in pairs)
    return Caption(text=text, log_probability=sum(log_probabilities) + end, words=words)


def test_signals_are_what_the_heads_and_the_network_say(model_with_heads):
    checkpoint = Checkpoint.load(model_with_heads)
    heads, vocabulary = checkpoint.heads, checkpoint.vocabulary
    captions = [caption("a red wall", -1.0, -2.0, -0.5), caption("green", -0.25)]
    features = np.random.default_rng(0).random((2, 7)).astype(np.float32)
    ids = [vocabulary.encode(c.text.split()) for c in captions]
    found = Signals(*signals_of(heads, vocabulary, captions, features).T)
    for row in range(2):
        own = [[ids[row]]], features[row][None]
        assert found.similarity[row] == pytest.approx(heads.similarity(*own)[0][0], abs=1e-4)
        predicted = heads.predicted_cider(*own)[0][0]
        assert found.predicted_cider[row] == pytest.approx(predicted, abs=1e-4)
    assert found.word_log_probability.tolist() == [-1.0, -0.375]
    assert found.expected_inventions.tolist() == [0, 0]
    assert signals_of(heads, vocabulary, [], features[:0]).shape == (0, COUNT)


def test_expected_inventions_are_those_of_the_thing_predictor(heads):
    things = predictor(np.zeros((5, 7), np.float32), mean=[0] * 7)  # each thing by one half
    words = np.zeros((len(THINGS_VOCABULARY), 4), np.float32)
    embedding = replace(heads.joint_embedding, words=words)
    heads = replace(heads, joint_embedding=embedding, thing_predictor=things)
    captions = [caption("a man", -1.0, -1.0), caption("a", -1.0)]
    found = Signals(*signals_of(heads, THINGS_VOCABULARY, captions, np.ones((2, 7), np.float32)).T)
    assert found.expected_inventions.tolist() == [0.5, 0]


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(beam_size=4, n_best=3, max_length=4),
        DecodingOptions(beam_size=1, max_length=4),
        DecodingOptions(temperature=1, n_best=2, max_length=4),
        DecodingOptions(beam_groups=2, beam_size=4, max_length=4),
        DecodingOptions(beam_size=4, force_words=("red",), max_length=4),
    ],
)
def test_every_first_caption_has_a_confidence(confident_model, colours, options):
    captioner = Captioner.load(confident_model)
    heads, vocabulary = captioner.checkpoint.heads, captioner.checkpoint.vocabulary
    photos, encoder = [image.path for image in colours.images[:5]], captioner.encoder
    for path, result in zip(photos, captioner.caption(photos, options), strict=True):
        assert captioner.caption(path, options).confidence == result.confidence
        feature = encoder.encode(encoder.preprocess(load_image(path)))[None]
        ids = vocabulary.encode([word.word for word in result.captions[0].words])
        similarity = heads.similarity([[ids]], feature)[0][0]
        likely = result.captions[0].log_probability / (len(ids) + 1)
        expected = 1 / (1 + np.exp(-3 - 4 * similarity - 2 * likely))
        assert result.confidence == pytest.approx(expected, abs=1e-3)


def test_consensus_has_a_confidence_too(confident_model, colours):
    path = colours.images[0].path
    assert 0 < Captioner.load(confident_model, "self").caption(path).confidence < 1


def test_a_model_without_it_has_none(model, model_with_heads, colours):
    path = colours.images[0].path
    assert Captioner.load(model_with_heads).caption(path).confidence is None
    (model / "heads.safetensors").unlink()
    assert Captioner.load(model).caption(path).confidence is None


def test_a_photo_that_cannot_be_read_has_none(confident_model, tmp_path):
    (result,) = Captioner.load(confident_model).caption([tmp_path / "none.jpg"])
    assert result.confidence is None
