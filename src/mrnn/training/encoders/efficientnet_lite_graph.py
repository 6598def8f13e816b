"""EfficientNet-Lite as an ONNX graph for squares of any size."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mrnn.model.image_encoder import FEATURES, PIXELS
from mrnn.training.encoders.efficientnet_lite import ConvolutionNorm, InvertedResidual
from mrnn.training.encoders.encoder_file import RGB
from mrnn.training.encoders.headless import HeadlessNetwork

OPSET = 18


def efficientnet_lite_graph(headless: HeadlessNetwork) -> onnx.ModelProto:
    """The graph, normalisation included. ONNX has TensorFlow's padding for any size, SAME_UPPER."""
    graph = _Graph()
    x = graph.normalized(PIXELS, headless.mean, headless.scale)
    stages, _pooling = headless.network.children()
    for place, stage in enumerate(stages.children()):
        if isinstance(stage, InvertedResidual):
            y = x
            for number, layer in enumerate(stage.layers):
                y = graph.convolution(y, layer, f"{place}.{number}")
            x = graph.add("Add", [x, y], f"{place}.sum") if stage.residual else y
        else:
            x = graph.convolution(x, stage, str(place))
    pooled = graph.add("GlobalAveragePool", [x], "pooled")
    graph.add("Flatten", [pooled], FEATURES)
    takes = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["B", "H", "W", 3])
    length = graph.channels
    gives = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["B", length])
    proto = helper.make_graph(graph.nodes, headless.name, [takes], [gives], graph.initializers)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)])


class _Graph:
    """Nodes and constants of a graph, as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.channels = 0
        """Of the latest convolution."""
        self.low, self.high = (
            self.constant(name, np.array(value)) for name, value in (("low", 0.0), ("high", 6.0))
        )

    def constant(self, name: str, value: np.ndarray) -> str:
        """A float32 constant."""
        self.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def add(
        self, kind: str, inputs: list[str], output: str, **attributes: int | str | list[int]
    ) -> str:
        """A node with one output."""
        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
        self.nodes.append(node)
        return output

    def normalized(self, pixels: str, mean: RGB, scale: RGB) -> str:
        """(x - mean) / scale of uint8 pixels, channels first."""
        x = self.add("Cast", [pixels], "float", to=TensorProto.FLOAT)
        x = self.add("Transpose", [x], "channels_first", perm=[0, 3, 1, 2])
        middle = self.constant("mean", np.reshape(mean, (3, 1, 1)))
        x = self.add("Sub", [x, middle], "centred")
        return self.add("Div", [x, self.constant("scale", np.reshape(scale, (3, 1, 1)))], "scaled")

    def convolution(self, x: str, layer: nn.Module, name: str) -> str:
        """A convolution with ReLU6 if it is active."""
        assert isinstance(layer, ConvolutionNorm)
        module = layer.convolution
        assert module.bias is not None  # the batch norm's
        weight = self.constant(f"{name}.weight", module.weight.numpy())
        bias = self.constant(f"{name}.bias", module.bias.numpy())
        self.channels = module.out_channels
        x = self.add(
            "Conv", [x, weight, bias], name, auto_pad="SAME_UPPER", group=module.groups,
            kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2,
        )  # fmt: skip
        return self.add("Clip", [x, self.low, self.high], f"{name}.relu6") if layer.active else x
