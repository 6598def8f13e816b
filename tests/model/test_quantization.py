import pytest
import torch

from mrnn.model.quantization import packed, rounded, unpacked


def test_rounding_is_near_and_rounds_no_further():
    matrix = torch.randn(40, 30) * torch.logspace(-6, 3, 40)[:, None]
    matrix[0] = 0
    once = rounded(matrix)
    assert torch.equal(rounded(once), once)
    assert torch.equal(once.half().float(), once)
    largest = matrix.abs().amax(dim=1, keepdim=True)
    assert ((once - matrix).abs() <= largest.clamp(min=2**-17) / 127).all()


def test_what_is_packed_is_unpacked_and_stays():
    tensors = {
        "matrix": torch.randn(3, 4),
        "vector": torch.randn(5),
        "ids": torch.tensor([[7, -1]]),
    }
    small = packed(tensors)
    assert {name: tensor.dtype for name, tensor in small.items()} == {
        "matrix": torch.int8, "matrix.scale": torch.float32,
        "vector": torch.float16, "ids": torch.int64,
    }  # fmt: skip
    once = unpacked(small)
    assert once.keys() == tensors.keys()
    assert torch.equal(once["ids"], tensors["ids"])
    assert torch.equal(once["vector"], tensors["vector"].half().float())
    again = unpacked(packed(once))
    assert all(torch.equal(again[name], once[name]) for name in once)


def test_a_name_may_end_like_a_unit():
    tensors = {"other.scale": torch.ones(3)}
    assert unpacked(packed(tensors)).keys() == tensors.keys()


def test_a_matrix_without_its_units():
    small = packed({"matrix": torch.randn(3, 4)})
    del small["matrix.scale"]
    with pytest.raises(ValueError, match=r"^matrix lacks its \.scale$"):
        unpacked(small)
