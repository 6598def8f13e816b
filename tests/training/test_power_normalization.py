import numpy as np
import pytest
import torch

from mrnn.model import power_normalization
from mrnn.training.power_normalization import power_normalize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_that_of_arrays(dtype):
    features = np.random.default_rng(0).normal(size=(5, 40)).astype(dtype)
    features[2] = 0
    found = power_normalize(torch.from_numpy(features)).numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(found, power_normalization.power_normalize(features), rtol=1e-6)
