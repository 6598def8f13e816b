"""Confidence is fitted to captions of photos that nothing was trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import CaptionedImage
from mrnn.data.features import extract_features, load_features
from mrnn.errors import DataError
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.confidence import RIGHT, Signals
from mrnn.training import confidence as training
from mrnn.training.confidence import PENALTIES, fit_confidence, fit_regression

COUNT = len(Signals._fields)
TRUTH = np.array([2.0, 1.0, 0.5, -1.0])


def world(count, seed=0):
    """Signals of very different scales, and what is right of them by a known regression."""
    random = np.random.default_rng(seed)
    standard = random.normal(size=(count, COUNT))
    chance = 1 / (1 + np.exp(-(standard @ TRUTH + 0.5)))
    signals = standard * [0.1, 1, 10, 100] + [5, 0, -50, 7]
    return signals, (random.random(count) < chance).astype(float), chance


def test_known_probabilities_are_found():
    signals, right, _ = world(1000)
    unseen, _, chance = world(500, seed=1)
    found = fit_regression(signals, right).probabilities(unseen)
    assert np.abs(found - chance).mean() < 0.03


def inputs_of(signals):
    """Of unit deviation, all to count upwards, and a column for the bias."""
    standard = (signals - signals.mean(0)) / signals.std(0) * [1, 1, 1, -1]
    return np.append(standard, np.ones((len(signals), 1)), axis=1)


def least(inputs, right, penalty):
    """By L-BFGS in PyTorch, with Platt's targets; the weights have no bounds."""
    yes, no = right.sum(), len(right) - right.sum()
    targets = torch.from_numpy(np.where(right > 0, (yes + 1) / (yes + 2), 1 / (no + 2)))
    x = torch.from_numpy(inputs)
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def cost():
        optimizer.zero_grad()
        nats = functional.binary_cross_entropy_with_logits(x @ weights, targets)
        total = nats + penalty * weights[:-1].square().sum()
        total.backward()
        return total

    optimizer.step(cost)
    return weights.detach().numpy()


@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[-1]])
def test_the_fit_is_the_least_of_the_cost(penalty):
    signals, right, _ = world(100)
    inputs = inputs_of(signals)
    expected = least(inputs, right, penalty)
    assert (expected[:-1] > 0).all()
    assert training._weights(inputs, right, penalty) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("penalty", [PENALTIES[0], PENALTIES[-1]])
def test_a_signal_that_counts_the_wrong_way_is_left_out(penalty):
    signals, right, _ = world(100)
    inputs = inputs_of(signals)
    inputs[:, 1] *= -1
    assert least(inputs, right, penalty)[1] < 0
    found, others = training._weights(inputs, right, penalty), [0, 2, 3, 4]
    assert found[1] == 0
    assert found[others] == pytest.approx(least(inputs[:, others], right, penalty), abs=1e-3)


def test_the_penalty_is_chosen_on_photos_that_a_fit_has_not_seen():
    noise = np.random.default_rng(9).normal(size=(200, COUNT))
    signals, right, _ = world(200)

    def best(inputs):
        return min(PENALTIES, key=lambda each: training._unseen_loss(inputs, right, each))

    assert best(inputs_of(noise)) >= 0.1
    penalty = best(inputs_of(signals))
    assert penalty <= 0.01
    chosen = np.abs(fit_regression(signals, right).weight) * signals.std(0)
    expected = training._weights(inputs_of(signals), right, penalty)[:-1]
    assert chosen == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("count", [1, 4, 30])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_photos_of_one_kind_leave_some_doubt(count, label):
    signals, _, _ = world(count)
    found = fit_regression(signals, np.full(count, label)).probabilities(signals)
    doubt = 1 / (count + 2)
    assert found == pytest.approx(np.full(count, 1 - doubt if label else doubt), abs=1e-3)


def test_a_signal_that_never_changes_has_no_weight():
    signals, right, _ = world(50)
    signals[:, -1] = 3.0
    assert fit_regression(signals, right).weight[-1] == 0


# On captions of the model


@pytest.fixture
def trained(model_with_heads, colours, colour_encoder):
    extract_features(colours, colour_encoder)
    checkpoint = Checkpoint.load(model_with_heads)
    features = load_features(colours, checkpoint.encoder)
    return checkpoint, colours, lambda images: features.of(images).astype(np.float32)


def test_the_captions_are_those_of_a_captioner_and_the_same_data_give_the_same_fit(trained):
    checkpoint, colours, features_of = trained
    held_out, others = colours.split("dev"), colours.split("train")
    features, done = features_of(held_out), []
    found = [
        fit_confidence(
            checkpoint, checkpoint.heads, held_out, features, others, lambda: done.append(1)
        )
        for _ in range(2)
    ]
    assert len(done) == 2 * len(held_out)
    assert all((found[0].arrays[name] == found[1].arrays[name]).all() for name in found[0].arrays)
    captioner = Captioner(checkpoint)
    captions = [each[0] for each in captioner.describe(features)]
    frequencies = DocumentFrequencies.of([image.words for image in [*held_out, *others]])
    said = [caption.text.split() for caption in captions]
    right = cider_d(said, [image.words for image in held_out], frequencies) >= RIGHT
    signals = training.signals_of(checkpoint.heads, checkpoint.vocabulary, captions, features)
    expected = fit_regression(signals, right.astype(float))
    assert all((found[0].arrays[name] == expected.arrays[name]).all() for name in expected.arrays)
    for array in expected.arrays.values():
        assert (array.astype(np.float16) == array).all()


def test_document_frequencies_are_of_a_bounded_number_of_photos(colours):
    photos = colours.split("train")
    assert training._some(photos, 30) == photos
    assert training._some(photos, 8) == photos[::3]
    assert training._some(photos, 7) == photos[::4]
    assert len(training._some(photos, 0)) == len(training._some([], 5)) == 0


def test_a_photo_without_captions(trained):
    checkpoint, colours, features_of = trained
    bare: CaptionedImage = replace(colours.images[0], captions=())
    with pytest.raises(DataError, match="has no caption to compare with"):
        fit_confidence(checkpoint, checkpoint.heads, [bare], features_of([bare]), ())
