import numpy as np
import pytest

from mrnn.metrics import bootstrap as module
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals


def mean_of(values):
    return lambda weights: (weights @ values / weights.sum(axis=1))[:, None]


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(5, 2, 400)
    means = bootstrap(mean_of(values), 400, resamples=4000, seed=0)
    ((low, high),) = percentile_intervals(means)
    error = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.03)


def test_every_resample_has_as_many_images():
    seen = []

    def figures(weights):
        seen.append(weights)
        return weights[:, :1]

    bootstrap(figures, 7, resamples=50, seed=0)
    (weights,) = seen
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_blocks_change_nothing_and_a_seed_repeats(monkeypatch):
    values = np.arange(10.0)
    whole = bootstrap(mean_of(values), 10, resamples=25, seed=3)
    monkeypatch.setattr(module, "AT_ONCE", 40)
    np.testing.assert_array_equal(bootstrap(mean_of(values), 10, resamples=25, seed=3), whole)
    assert (bootstrap(mean_of(values), 10, resamples=25, seed=4) != whole).any()


def test_percentiles():
    values = np.stack([np.arange(1001.0), -np.arange(1001.0)], axis=1)
    assert percentile_intervals(values).tolist() == pytest.approx(
        np.array([[25, 975], [-975, -25]])
    )
