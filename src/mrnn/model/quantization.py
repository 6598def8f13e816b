"""Tensors as model files keep them: matrices a byte a number, vectors in float16.

Each row of a matrix has its unit, a power of two, so that what is read can be written again
unchanged and is exact in float16. Letters: R rows, C columns.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

UNIT = ".scale"
"""Ends the name of the tensor (R x 1) that holds a matrix's units."""
LARGEST = 127


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Ready for a file; whole numbers stay as they are."""
    small = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            small[name] = tensor
        elif tensor.ndim < 2:
            small[name] = tensor.half()
        else:
            largest = tensor.abs().amax(dim=1, keepdim=True)
            unit = (largest / LARGEST).clamp(min=2.0**-24).log2().ceil().exp2()
            small[name] = (tensor / unit).round().to(torch.int8)
            small[name + UNIT] = unit
    return {name: tensor.contiguous() for name, tensor in small.items()}


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` made, in float32; other types stay. Raises ValueError for a missing unit."""
    units = {name + UNIT for name, tensor in tensors.items() if tensor.dtype == torch.int8}
    large = {}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.int8:
            if name + UNIT not in tensors:
                raise ValueError(f"{name} lacks its {UNIT}")
            large[name] = tensor * tensors[name + UNIT].float()
        elif name not in units:
            large[name] = tensor.float() if tensor.is_floating_point() else tensor
    return large


def rounded(matrix: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
    """To what a file keeps: of each row, whole multiples, -127 to 127, of a power of two."""
    return unpacked(packed({"": matrix}))[""]
