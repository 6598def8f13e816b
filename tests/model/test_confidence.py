"""Confidence is a logistic regression on signals."""

import math

import numpy as np
import pytest

from mrnn.model.confidence import Confidence, Signals

COUNT = len(Signals._fields)


def confidence(weight, bias, mean):
    arrays = (np.array(each, np.float32) for each in (weight, [bias], mean))
    return Confidence(*arrays)


def test_probabilities_are_those_of_the_regression():
    random = np.random.default_rng(0)
    weight, mean = random.normal(size=(2, COUNT)).astype(np.float32)
    signals = random.normal(size=(5, COUNT))
    found = confidence(weight, 0.25, mean).probabilities(signals)
    expected = [
        1 / (1 + math.exp(-0.25 - sum(w * (s - m) for w, s, m in zip(weight, row, mean))))  # noqa: B905
        for row in signals
    ]
    assert found == pytest.approx(expected, abs=1e-6)


def test_extreme_signals_give_0_and_1():
    signals = np.array([[1e4], [-1e4]]) * np.ones(COUNT)
    found = confidence(np.ones(COUNT), 0, np.zeros(COUNT)).probabilities(signals)
    assert found.tolist() == [1.0, 0.0]


def test_a_photo_more_changes_nothing():
    random = np.random.default_rng(1)
    fitted = confidence(random.normal(size=COUNT), 1, random.normal(size=COUNT))
    signals = random.normal(size=(9, COUNT)).round(4)
    whole = fitted.probabilities(signals)
    alone = [fitted.probabilities(row[None])[0] for row in signals]
    assert whole == pytest.approx(alone, abs=1e-12)
