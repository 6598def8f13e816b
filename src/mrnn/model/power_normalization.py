"""Image features under a square root: a few strong answers no longer drown the many weak ones.

So hears features whatever is linear in them: what ranks, what expects CIDEr, and familiarity.

Letters: N images, F image feature.
Source: Perronnin, Sánchez and Mensink, "Improving the Fisher Kernel for Large-Scale Image
Classification", ECCV 2010.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def unit_roots(features: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
    """Square roots, each with the sign of its value, scaled to unit length."""
    return functional.normalize(features.sign() * features.abs().sqrt(), dim=1)
