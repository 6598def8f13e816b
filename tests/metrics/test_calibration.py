import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.metrics.calibration import expected_calibration_error, spearman


def test_bins_hold_equally_many_by_rising_probability():
    """By hand: bins 0.1 0.2 | 0.6 0.7 | 0.9, of which 1, 1 and 0 come true."""
    probabilities = np.array([0.9, 0.2, 0.6, 0.1, 0.7])
    outcomes = np.array([False, True, True, False, False])
    gaps = [abs(0.15 - 0.5), abs(0.65 - 0.5), abs(0.9 - 0)]
    expected = (2 * gaps[0] + 2 * gaps[1] + 1 * gaps[2]) / 5
    assert expected_calibration_error(probabilities, outcomes, 3) == pytest.approx(expected)


def test_of_equals_the_earlier_comes_first():
    probabilities, outcomes = np.full(4, 0.5), np.array([True, True, False, False])
    assert expected_calibration_error(probabilities, outcomes, 2) == 0.5
    assert expected_calibration_error(probabilities, outcomes[[0, 2, 1, 3]], 2) == 0


@pytest.mark.parametrize(
    ("probabilities", "outcomes", "error"),
    [([], [], 0), ([0.3], [True], 0.7), ([0.0, 1.0], [False, True], 0), ([1.0, 0.0], [0, 1], 1)],
)
def test_fewer_than_bins(probabilities, outcomes, error):
    found = expected_calibration_error(np.array(probabilities), np.array(outcomes, bool))
    assert found == pytest.approx(error)


def test_what_is_true_by_its_probability_is_calibrated():
    random = np.random.default_rng(0)
    probabilities = random.random(100_000)
    outcomes = random.random(100_000) < probabilities
    assert expected_calibration_error(probabilities, outcomes) < 0.01
    assert expected_calibration_error(probabilities**2, outcomes) == pytest.approx(1 / 6, abs=0.01)


def test_spearman_by_hand():
    """Ranks 1 2.5 2.5 4 and 2 1 4 3: sums of products 0.5 of deviations, squares 4.5 and 5."""
    one, other = np.array([1.0, 5, 5, 9]), np.array([0.2, 0.1, 0.4, 0.3])
    left, right = np.array([-1.5, 0, 0, 1.5]), np.array([-0.5, -1.5, 1.5, 0.5])
    expected = (left * right).sum() / np.sqrt(4.5 * 5)
    assert spearman(one, other) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0]])
def test_equal_values_correlate_with_nothing(values):
    assert spearman(np.array(values), np.arange(float(len(values)))) == 0


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=20))
def test_only_the_order_counts(values):
    one = np.array(values, float)
    other = np.random.default_rng(0).normal(size=len(values))
    found = spearman(one, other)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert spearman(np.exp(one), other) == pytest.approx(found)
    assert spearman(-one, other) == pytest.approx(-found)
    assert spearman(other, one) == pytest.approx(found)
    if len(set(values)) > 1:
        assert spearman(one, one**3) == pytest.approx(1)


def test_spearman_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    one, other = random.integers(0, 9, 50).astype(float), random.normal(size=50)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
