import torch
from hypothesis import given
from hypothesis import strategies as st

from mrnn.model.power_normalization import unit_roots

FEATURES = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), min_size=1, max_size=4
)


@given(FEATURES)
def test_squared_they_are_the_features_up_to_a_factor(rows):
    features = torch.tensor(rows, dtype=torch.float64)
    roots = unit_roots(features)
    totals = features.abs().sum(1, keepdim=True)
    torch.testing.assert_close(roots.sign() * roots.square() * totals, features)


def test_nothing_stays_nothing_and_all_else_has_unit_length():
    roots = unit_roots(torch.tensor([[0.0, 0.0], [4.0, -9.0]]))
    torch.testing.assert_close(roots, torch.tensor([[0.0, 0.0], [2.0, -3.0]]) / 13**0.5)
