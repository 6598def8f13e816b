"""Int8 quantization for model files: int8 matrices with one scale a row, vectors in float16.

Scales are powers of two, so what is read can be written again unchanged and is exact in float16.

Letters: R rows, C columns.
"""

from collections.abc import Mapping

import numpy as np

from mrnn.shapes import Float

SCALE = ".scale"
"""Suffix of the name of the tensor (R x 1) with a matrix's scales."""
LARGEST = 127
LEAST_SCALE = 2.0**-24


def quantize(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors quantized, ready for a file; integer tensors stay as they are."""
    small: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if not np.issubdtype(tensor.dtype, np.floating):
            small[name] = tensor
        elif tensor.ndim < 2:
            small[name] = tensor.astype(np.float16)
        else:
            largest = np.abs(tensor).max(axis=1, keepdims=True)
            scale = _power_of_two(np.maximum(largest / LARGEST, LEAST_SCALE))
            small[name] = np.rint(tensor / scale).astype(np.int8)
            small[name + SCALE] = scale
    return {name: np.ascontiguousarray(tensor) for name, tensor in small.items()}


def dequantize(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `quantize` made, in float32; integers stay. Raises ValueError for a missing scale."""
    scales = {name + SCALE for name, tensor in tensors.items() if tensor.dtype == np.int8}
    large: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if tensor.dtype == np.int8:
            if name + SCALE not in tensors:
                raise ValueError(f"{name} lacks its {SCALE}")
            large[name] = tensor * tensors[name + SCALE].astype(np.float32)
        elif name not in scales:
            is_float = np.issubdtype(tensor.dtype, np.floating)
            large[name] = tensor.astype(np.float32) if is_float else tensor
    return large


def rounded(matrix: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C"]:
    """The matrix as `quantize` rounds it: in each row -127 to 127 times a power of two."""
    return dequantize(quantize({"": matrix}))[""]


def _power_of_two(values: Float[np.ndarray, "R 1"]) -> Float[np.ndarray, "R 1"]:
    """The least power of two that is not below each value."""
    mantissa, exponent = np.frexp(values.astype(np.float32))
    return np.asarray(np.ldexp(np.float32(1), exponent - (mantissa == 0.5)), np.float32)
