"""What every encoder file gets, whatever network it is made of: compact weights and an identity.

Matrices and kernels are stored as whole numbers with a scale a row, which onnxruntime turns into
float32 when it opens the file. int16 is half the size of float32, and 13 times as exact as float16.

Letters: R rows.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mrnn.errors import naming
from mrnn.model.image_encoder import OnnxEncoder, open_encoder
from mrnn.outputs import folder_aside
from mrnn.shapes import Float32

IR_VERSION = 8
QUANTIZED_FROM = 1024
"""Values of a tensor; smaller ones stay float32."""
ROW_SCALE = ".row_scale"
RGB = tuple[float, float, float]
Bits = Literal[8, 16]


def strip(model: onnx.ModelProto) -> None:
    """Remove what tells of the computer that made it: equal networks give equal files."""
    graph = model.graph
    model.ir_version = IR_VERSION
    for field in ("producer_name", "producer_version", "doc_string", "domain", "metadata_props"):
        model.ClearField(field)
    for field in ("doc_string", "value_info", "metadata_props"):
        graph.ClearField(field)
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")


def quantize_initializers(
    model: onnx.ModelProto, bits: Callable[[np.ndarray], Bits] = lambda _: 16
) -> None:
    """Store matrices and kernels as int8 or int16 with a scale a row, as `bits` says of each.

    The graph makes float32 of them.
    """
    kept, nodes = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < QUANTIZED_FROM:
            kept.append(tensor)
            continue
        name, width = tensor.name, bits(values)
        integers, scale = _quantize(values.reshape(len(values), -1), width)
        column = scale.reshape(-1, *[1] * (values.ndim - 1))
        kept.append(numpy_helper.from_array(integers.reshape(values.shape), f"{name}.int{width}"))
        kept.append(numpy_helper.from_array(column, f"{name}{ROW_SCALE}"))
        nodes += [
            helper.make_node(
                "Cast", [f"{name}.int{width}"], [f"{name}.cast"], to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{name}.cast", f"{name}{ROW_SCALE}"], [name]),
        ]
    nodes += model.graph.node
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(kept)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def read_initializers(model: onnx.ModelProto) -> dict[str, Float32[np.ndarray, "..."]]:
    """The float32 tensors of a graph by name, also those that `quantize_initializers` stored."""
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    tensors = {name: values for name, values in stored.items() if values.dtype == np.float32}
    for name in [each for each in tensors if each.endswith(ROW_SCALE)]:
        own, scale = name.removesuffix(ROW_SCALE), tensors.pop(name)
        integers = next(
            stored[f"{own}.int{bits}"] for bits in (8, 16) if f"{own}.int{bits}" in stored
        )
        tensors[own] = integers.astype(np.float32) * scale
    return tensors


def _quantize(
    rows: Float32[np.ndarray, "R _"], bits: Bits
) -> tuple[np.ndarray, Float32[np.ndarray, " R"]]:
    """Rows as whole numbers of that many bits, and what a row's are to be multiplied with."""
    dtype = np.dtype(f"int{bits}")
    scale = np.abs(rows).max(axis=1) / np.float32(np.iinfo(dtype).max)
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    return np.rint(rows / scale[:, None]).astype(dtype), scale


def describe(
    model: onnx.ModelProto, name: str, layer: str, size: int, feature_size: int, mean: RGB
) -> None:
    """Put in what `EncoderMetadata` reads."""
    metadata = {
        "format": "1",
        "name": name,
        "layer": layer,
        "size": str(size),
        "feature_size": str(feature_size),
        "mean": json.dumps(mean),
    }
    helper.set_model_props(model, metadata)


def write_encoder(
    model: onnx.ModelProto, file: Path, check: Callable[[OnnxEncoder], None] = lambda _: None
) -> None:
    """Write an encoder file, whole or not at all: only if it opens, and `check` raises nothing."""
    onnx.checker.check_model(model)
    with naming(file), folder_aside(file.parent) as folder:
        written = folder / file.name
        written.write_bytes(model.SerializeToString(deterministic=True))
        check(open_encoder(written, "squash"))
        written.replace(file)
