"""Power normalization of tensors, see `mrnn.model.power_normalization`.

Letters: N images, F image feature.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mrnn.data.features import Features
from mrnn.shapes import Float

LEAST_DEVIATION = 0.05
"""Added to each standard deviation that features are divided by, over the root of their size."""
ROWS_AT_ONCE = 4096


class Standardized(NamedTuple):
    """Power-normalized features, and how they were shifted and scaled: mean 0, deviation 1."""

    values: Float[Tensor, "N F"]
    mean: Float[Tensor, " F"]
    scale: Float[Tensor, " F"]


def standardize(
    features: Float[np.ndarray, "N F"] | Features, device: torch.device
) -> Standardized:
    """Of all rows, read some at a time; the memory is that of the result."""
    values = torch.empty(len(features), _size_of(features), device=device)
    for start in range(0, len(features), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(features)))
        block = torch.from_numpy(features[rows].astype(np.float32))
        values[start : start + len(rows)] = power_normalize(block.to(device))
    mean = values.mean(0)
    least = LEAST_DEVIATION / math.sqrt(len(mean))
    scale = 1 / (values.std(0, correction=0) + least)
    return Standardized(values.sub_(mean).mul_(scale), mean, scale)


def _size_of(features: Float[np.ndarray, "N F"] | Features) -> int:
    return features.shape[1] if isinstance(features, np.ndarray) else features.encoder.feature_size


def power_normalize(features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
    """Square roots with the sign of their values, scaled to unit length."""
    return functional.normalize(features.sign() * features.abs().sqrt(), dim=1)
