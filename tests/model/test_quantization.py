import numpy as np
import pytest

from mrnn.model.quantization import dequantize, quantize, rounded


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_rounding_is_near_and_rounds_no_further(random):
    matrix = random.normal(size=(40, 30)) * np.logspace(-6, 3, 40)[:, None]
    matrix = matrix.astype(np.float32)
    matrix[0] = 0
    once = rounded(matrix)
    assert np.array_equal(rounded(once), once)
    assert np.array_equal(once.astype(np.float16).astype(np.float32), once)
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    assert (np.abs(once - matrix) <= np.maximum(largest, 2**-17) / 127).all()


def test_scales_are_powers_of_two_at_their_edges():
    matrix = np.array([[127.0], [127.1], [254.0], [254.1], [63.5]], np.float32)
    scales = quantize({"matrix": matrix})["matrix.scale"]
    assert scales[:, 0].tolist() == [1, 2, 2, 4, 0.5]


def test_quantized_tensors_are_dequantized_and_stay(random):
    tensors = {
        "matrix": random.normal(size=(3, 4)).astype(np.float32),
        "vector": random.normal(size=5).astype(np.float32),
        "ids": np.array([[7, -1]]),
    }
    small = quantize(tensors)
    assert {name: tensor.dtype for name, tensor in small.items()} == {
        "matrix": np.int8, "matrix.scale": np.float32, "vector": np.float16, "ids": np.int64,
    }  # fmt: skip
    once = dequantize(small)
    assert once.keys() == tensors.keys()
    assert np.array_equal(once["ids"], tensors["ids"])
    assert np.array_equal(once["vector"], tensors["vector"].astype(np.float16).astype(np.float32))
    again = dequantize(quantize(once))
    assert all(np.array_equal(again[name], once[name]) for name in once)


def test_a_name_may_end_like_a_scale():
    tensors = {"other.scale": np.ones(3, np.float32)}
    assert dequantize(quantize(tensors)).keys() == tensors.keys()


def test_a_matrix_without_its_scale():
    small = quantize({"matrix": np.ones((3, 4), np.float32)})
    del small["matrix.scale"]
    with pytest.raises(ValueError, match=r"^matrix lacks its \.scale$"):
        dequantize(small)
