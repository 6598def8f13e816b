import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrnn.model.power_normalization import power_normalize, unit_length

FEATURES = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4
)


@given(FEATURES)
def test_squares_are_the_features_up_to_a_factor(rows):
    features = np.array(rows, dtype=np.float64)
    roots = power_normalize(features)
    totals = np.abs(features).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.sign(roots) * roots**2 * totals, features, rtol=1e-9, atol=1e-9)


def test_zeros_stay_zeros_and_all_else_has_unit_length():
    roots = power_normalize(np.array([[0, 0], [4, -9]], np.float32))
    np.testing.assert_allclose(roots, np.array([[0, 0], [2, -3]]) / 13**0.5, rtol=1e-6)
    assert roots.dtype == np.float32


def test_unit_length_is_along_the_last_axis():
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_allclose(np.linalg.norm(unit_length(vectors), axis=2), np.ones((2, 3)))
