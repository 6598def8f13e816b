"""Which numbers this processor multiplies matrices of faster."""

import math
import time
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

GAIN = 1.2
"""Times as fast that bfloat16 must be: it is less exact."""
ROUNDS, FEWEST = 40, 4
"""Timings at most; and before it may be given up."""


def faster_precision() -> Precision:
    """By timing: a processor's name does not tell, and some only emulate bfloat16.

    The least of several times counts, taken in turns, since the first prepares and a machine that
    others use disturbs any.
    """
    single = half = math.inf
    for done in range(ROUNDS):
        single = min(single, _product_seconds(torch.float32))
        half = min(half, _product_seconds(torch.bfloat16))
        if done >= FEWEST and half > 10 * single:  # emulated: each product takes long
            break
    return "bfloat16" if GAIN * half < single else "float32"


def _product_seconds(precision: torch.dtype) -> float:
    matrix = torch.ones(256, 256, dtype=precision)
    start = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - start
