import subprocess
import sys

import jaxtyping
import numpy as np
import pytest

from mrnn import shapes
from mrnn.metrics.meteor import meteor
from mrnn.shapes import Float32


def test_a_wrong_shape_is_refused_in_tests():
    assert isinstance(np.zeros((2, 3), np.float32), Float32[np.ndarray, "B T"])
    assert not isinstance(np.zeros(3, np.float32), Float32[np.ndarray, "B T"])
    with pytest.raises(jaxtyping.TypeCheckError):
        meteor(np.zeros(3))


def test_a_running_program_sees_arrays_and_needs_no_jaxtyping():
    names = ", ".join(shapes.__all__)
    code = f"""
import sys, numpy as np
from mrnn.shapes import {names}
def double(values: Float32[np.ndarray, "B T"], *others: Int[np.ndarray, " N"] | None) -> None: ...
for shape in ({names}):
    assert shape[np.ndarray, "B"].__origin__ is np.ndarray
assert "jaxtyping" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
