import math

import numpy as np
import pytest

from mrnn.training.optimization import learning_rate
from mrnn.training.recipe import TrainingOptions


def test_learning_rate_rises_linearly_then_falls_along_a_cosine():
    options = TrainingOptions(learning_rate=2.0, warm_up=0.1)
    rates = [learning_rate(options, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(2 / 100)
    np.testing.assert_allclose(np.diff(rates[:100]), 2 / 100)
    assert max(rates) == rates[99] == rates[100] == 2
    assert rates[100 + 450] == pytest.approx(1)
    assert rates[100 + 225] == pytest.approx(2 * math.cos(math.pi / 8) ** 2)
    assert (np.diff(rates[100:]) < 0).all()
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("warm_up", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_learning_rate_of_a_short_run_stays_in_bounds(steps, warm_up):
    options = TrainingOptions(learning_rate=1.0, warm_up=warm_up)
    assert all(0 < learning_rate(options, step, steps) <= 1 for step in range(steps))
