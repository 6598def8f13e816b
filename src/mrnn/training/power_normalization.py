"""Power normalization of tensors, see `mrnn.model.power_normalization`.

Letters: N images, F image feature.
"""

from torch import Tensor
from torch.nn import functional

from mrnn.shapes import Float


def power_normalize(features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
    """Square roots with the sign of their values, scaled to unit length."""
    return functional.normalize(features.sign() * features.abs().sqrt(), dim=1)
