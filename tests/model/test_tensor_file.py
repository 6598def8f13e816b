import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from mrnn.model.quantization import quantize
from mrnn.model.tensor_file import (
    TensorForm,
    check_forms,
    check_values,
    read_header,
    read_layout,
    read_tensors,
    stored_as,
)


@pytest.fixture
def file(tmp_path):
    save_file(
        {"a": np.ones((2, 3), np.float16), "b": np.arange(4, dtype=np.int32)},
        tmp_path / "some.safetensors", {"key": "value"},
    )  # fmt: skip
    return tmp_path / "some.safetensors"


FORMS = {"a": TensorForm("F16", (2, 3)), "b": TensorForm("I32", (4,))}


def test_a_header(file):
    assert read_header(file) == ({"key": "value"}, FORMS)
    check_forms(FORMS, FORMS)
    check_forms(FORMS, {"a": TensorForm("F16", (None, 3)), "b": TensorForm("I32", (None,))})


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (None, " lacks the tensor a"),
        (TensorForm("F32", (2, 3)), ": a is F32 of shape (2, 3), not F16 of shape (any, 3)"),
        (TensorForm("F16", (3,)), ": a is F16 of shape (3), not F16 of shape (any, 3)"),
        (TensorForm("F16", (2, 4)), ": a is F16 of shape (2, 4), not F16 of shape (any, 3)"),
    ],
)
def test_forms_that_do_not_fit(form, message):
    found = {"a": form} if form else {}
    with pytest.raises(ValueError, match=r"^[ :]") as raised:
        check_forms(found, {"a": TensorForm("F16", (None, 3))})
    assert str(raised.value) == message


def test_a_tensor_that_nobody_knows():
    with pytest.raises(ValueError, match=" has an unknown tensor 'b'"):
        check_forms(FORMS, {"a": FORMS["a"]})


def test_how_floats_are_stored():
    stored = save(quantize({"m": np.ones((2, 3), np.float32), "v": np.ones(4, np.float32)}))
    header = json.loads(stored[8 : 8 + struct.unpack("<Q", stored[:8])[0]])
    found = {name: TensorForm(each["dtype"], tuple(each["shape"])) for name, each in header.items()}
    assert stored_as((2, 3), "m") | stored_as((4,), "v") == found


def test_tensors_are_read_and_checked(file):
    assert read_tensors(file, ["b"])["b"].tolist() == [0, 1, 2, 3]
    save_file({"a": np.full(2, np.inf, np.float16)}, file)
    with pytest.raises(ValueError, match=": a holds values that are not finite"):
        read_tensors(file, ["a"])
    file.unlink()
    with pytest.raises(ValueError, match=" cannot be read: No such file"):
        read_tensors(file, ["a"])


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"a": np.array([1, np.nan], np.float16)}, ": a holds values that are not finite"),
        ({"a.scale": np.array([[1], [0]], np.float32)}, ": a.scale holds scales beyond 0..65,536"),
        ({"a.scale": np.array([[1], [-1]], np.float32)}, ": a.scale holds scales beyond"),
        ({"a.scale": np.array([[1e9]], np.float32)}, ": a.scale holds scales beyond"),
        ({"a": np.zeros((2, 2), np.int8)}, ": a holds only zeros"),
    ],
)
def test_values_that_cannot_be(tensors, problem):
    with pytest.raises(ValueError, match=problem):
        check_values(tensors)


def test_values_that_can_be():
    halves, integers = np.zeros(3, np.float16), np.zeros(2, np.int32)
    scale = np.full((1, 1), 65536, np.float32)
    check_values({"a": halves, "b": np.zeros((0, 2), np.int8), "c": integers, "d.scale": scale})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r" is damaged \("),
        (b"\xff" * 50, r" is damaged \("),
        (struct.pack("<Q", 2**40) + b"{}", r" is damaged \("),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, r" is damaged \("),
    ],
)
def test_a_damaged_header(file, content, problem):
    file.write_bytes(content)
    for read in (read_header, read_layout):
        with pytest.raises(ValueError, match=problem):
            read(file)


def test_no_tensor_is_allocated_for_what_a_header_says(file):
    form = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"a": form}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(ValueError, match=r" is damaged \("):
        read_header(file)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=" is no file, but a folder or a device"):
        read_header(tmp_path)
    with pytest.raises(ValueError, match=" is missing"):
        read_header(tmp_path / "none")


def test_the_layout_is_where_the_tensors_are(file):
    layout, digest = read_layout(file)
    content = file.read_bytes()
    place = layout["a"]
    values = np.frombuffer(content[place.offset : place.offset + place.length], np.float16)
    assert values.tolist() == [1] * 6
    assert (place.dtype, place.shape) == ("F16", (2, 3))
    save_file({"a": np.zeros((2, 3), np.float16), "b": np.arange(4, dtype=np.int32)}, file)
    assert read_layout(file)[1] != digest  # as it has no metadata now
