"""A builder of ONNX graphs whose weights lie in RUN/model.safetensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mrnn.model.network import WEIGHTS
from mrnn.model.quantization import SCALE
from mrnn.model.tensor_file import TensorLayout

OPSET, IR_VERSION = 17, 9
CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
TYPES = {"I8": TensorProto.INT8, "F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}
"""ONNX types, by the names that safetensors gives them."""

Form = tuple[int, Sequence[int | str]]
"""Type and shape of an input or output; a string is a dimension that varies."""


def floats(*shape: int | str) -> Form:
    """Of a float32 input or output."""
    return TensorProto.FLOAT, shape


class Graph:
    """A graph under construction. Methods add nodes and give the name of their output."""

    def __init__(self, tensors: Mapping[str, TensorLayout]) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """A node with one output."""
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def split(self, name: str, count: int) -> list[str]:
        """Equal parts of the columns."""
        if count == 1:
            return [name]
        parts = [f"{name}_{place}" for place in range(count)]
        self._nodes.append(helper.make_node("Split", [name], parts, axis=1))
        return parts

    def constant(self, value: float | np.ndarray) -> str:
        """A small tensor, kept in the graph itself; floats as float32."""
        array = np.asarray(value, np.float32) if isinstance(value, float) else np.asarray(value)
        name = f"constant_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def stored(self, name: str) -> str:
        """A tensor of model.safetensors, in its type there."""
        if name not in self._initializers:
            layout = self._tensors[name]
            tensor = TensorProto(
                name=name,
                data_type=TYPES[layout.dtype],
                dims=layout.shape,
                data_location=TensorProto.EXTERNAL,
            )
            place = {"location": WEIGHTS, "offset": layout.offset, "length": layout.length}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            self._initializers[name] = tensor
        return name

    def vector(self, name: str) -> str:
        """A bias in float32."""
        return self.add("Cast", [self.stored(name)], to=TensorProto.FLOAT)

    def matrix(self, name: str) -> str:
        """A weight matrix in float32, transposed."""
        values = self.add("Cast", [self.stored(name)], to=TensorProto.FLOAT)
        if name + SCALE in self._tensors:
            values = self.add("Mul", [values, self.stored(name + SCALE)])
        return self.add("Transpose", [values], perm=[1, 0])

    def rows(self, name: str, indices: str, output: str) -> str:
        """Some rows of a weight matrix, in float32."""
        values = self.add("Gather", [self.stored(name), indices])
        scales = self.add("Gather", [self.stored(name + SCALE), indices])
        values = self.add("Cast", [values], to=TensorProto.FLOAT)
        return self.add("Mul", [values, scales], output)

    def linear(self, inputs: str, name: str, output: str = "") -> str:
        """W x + b, or W x where the network has no such bias."""
        operands = [inputs, self.matrix(f"{name}.weight")]
        if f"{name}.bias" not in self._tensors:
            return self.add("MatMul", operands, output)
        return self.add("Gemm", [*operands, self.vector(f"{name}.bias")], output)

    def model(self, inputs: Mapping[str, Form], outputs: Mapping[str, Form]) -> onnx.ModelProto:
        """The finished model with these inputs and outputs."""
        graph = helper.make_graph(
            self._nodes,
            "mrnn",
            [helper.make_tensor_value_info(name, *form) for name, form in inputs.items()],
            [helper.make_tensor_value_info(name, *form) for name, form in outputs.items()],
            list(self._initializers.values()),
        )
        opset = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
