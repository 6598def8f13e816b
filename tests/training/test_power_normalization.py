import numpy as np
import pytest
import torch

from mrnn.model import power_normalization
from mrnn.training import power_normalization as training
from mrnn.training.devices import CPU
from mrnn.training.power_normalization import LEAST_DEVIATION, power_normalize, standardize


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_that_of_arrays(dtype):
    features = np.random.default_rng(0).normal(size=(5, 40)).astype(dtype)
    features[2] = 0
    found = power_normalize(torch.from_numpy(features)).numpy()
    assert found.dtype == dtype
    np.testing.assert_allclose(found, power_normalization.power_normalize(features), rtol=1e-6)


class Rows(np.ndarray):
    """An array that notes how many rows are read at a time."""

    read = 0

    def __getitem__(self, rows):
        Rows.read = max(Rows.read, len(rows))
        return np.asarray(self)[rows]


@pytest.mark.parametrize("rows_at_once", [1, 7, 20, 4096])
def test_standardized_features_do_not_depend_on_how_they_are_read(rows_at_once, monkeypatch):
    features = np.random.default_rng(0).normal(size=(20, 300)).astype(np.float16)
    normalized = power_normalize(torch.from_numpy(features.astype(np.float32)))
    mean, deviation = normalized.mean(0), normalized.std(0, correction=0)
    scale = 1 / (deviation + LEAST_DEVIATION / 300**0.5)
    monkeypatch.setattr(training, "ROWS_AT_ONCE", rows_at_once)
    Rows.read = 0
    found = standardize(features.view(Rows), CPU)
    assert Rows.read == min(rows_at_once, 20)
    assert torch.equal(found.values, (normalized - mean) * scale)
    assert torch.equal(found.mean, mean)
    assert torch.equal(found.scale, scale)
