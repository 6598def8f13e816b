"""The graphs of a network: a few kB of ONNX whose weights are RUN/model.safetensors itself.

    image.onnx      features -> image                          V_I I, once an image
    words.onnx      words -> word, word_part                   w(t) and V_w w(t), once a word
    language.onnx   word, word_part, state -> language, next_state      V_w w(t) + V_r r(t)
    output.onnx     language, image -> log_probabilities       exact, float32
    search.onnx     word, word_part, state, image -> log_probabilities, next_state      int8 output

A graph refers to weights by byte offset. The layout of model.safetensors follows from the sizes of
a network alone, so a graph stays valid when weights are replaced.

Letters: B batch, F image feature, M multimodal, S state, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mrnn.files import write_whole
from mrnn.model.config import ModelConfig
from mrnn.model.network import (
    ACTIVATION_STEPS,
    IMAGE,
    LANGUAGE,
    LAYOUT,
    MODEL,
    OUTPUT,
    SEARCH,
    WEIGHTS,
    WORDS,
    TensorLayout,
    describe,
    read_layout,
    searches_in_int8,
    state_size,
)
from mrnn.model.quantization import SCALE

OPSET, IR_VERSION = 17, 9
CONTRIB = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
TYPES = {"I8": TensorProto.INT8, "F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}
GATES = {"gru": 3, "lstm": 4}


def export_graphs(folder: Path, config: ModelConfig) -> None:
    """Write the graphs of the network whose weights are in the folder."""
    tensors, digest = read_layout(folder / WEIGHTS)
    graphs = {WORDS: _words_graph, LANGUAGE: _language_graph, OUTPUT: _output_graph}
    if config.sees_image:
        graphs[IMAGE] = _image_graph
    if searches_in_int8(config):
        graphs[SEARCH] = _search_graph
    for name, build in graphs.items():
        model = build(_Graph(tensors), config)
        helper.set_model_props(model, {LAYOUT: digest, MODEL: describe(config)})
        write_whole(folder / name, model.SerializeToString())


class _Graph:
    """Nodes and weights, added one after the other."""

    def __init__(self, tensors: dict[str, TensorLayout]) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """A node with one output; gives the output's name."""
        name = name or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: float | np.ndarray, name: str = "") -> str:
        """A small tensor that the graph itself holds."""
        array = np.asarray(value, np.float32) if isinstance(value, float) else np.asarray(value)
        name = name or f"constant_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def stored(self, name: str) -> str:
        """A tensor as the file keeps it."""
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
        """A bias, in float32."""
        return self.add("Cast", [self.stored(name)], to=TensorProto.FLOAT)

    def matrix(self, name: str) -> str:
        """A weight matrix in float32, transposed: columns are outputs."""
        values = self.add("Cast", [self.stored(name)], to=TensorProto.FLOAT)
        scaled = self.add("Mul", [values, self.stored(name + SCALE)])
        return self.add("Transpose", [scaled], perm=[1, 0])

    def rows(self, name: str, places: str, name_of_output: str) -> str:
        """Some rows of a weight matrix, in float32."""
        values = self.add("Gather", [self.stored(name), places])
        scales = self.add("Gather", [self.stored(name + SCALE), places])
        values = self.add("Cast", [values], to=TensorProto.FLOAT)
        return self.add("Mul", [values, scales], name_of_output)

    def split(self, name: str, count: int) -> list[str]:
        """Equal parts of the columns."""
        if count == 1:
            return [name]
        parts = [f"{name}_{place}" for place in range(count)]
        self._nodes.append(helper.make_node("Split", [name], parts, axis=1))
        return parts

    def linear(self, inputs: str, name: str, name_of_output: str = "") -> str:
        """W x, and the bias where the network has one."""
        operands = [inputs, self.matrix(f"{name}.weight")]
        if f"{name}.bias" not in self._tensors:
            return self.add("MatMul", operands, name_of_output)
        return self.add("Gemm", [*operands, self.vector(f"{name}.bias")], name_of_output)

    def model(
        self, inputs: dict[str, tuple[int, Any]], outputs: dict[str, tuple[int, Any]]
    ) -> onnx.ModelProto:
        """The finished model; types and shapes by name."""
        graph = helper.make_graph(
            self._nodes,
            "mrnn",
            [helper.make_tensor_value_info(name, *form) for name, form in inputs.items()],
            [helper.make_tensor_value_info(name, *form) for name, form in outputs.items()],
            list(self._initializers.values()),
        )
        opset = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


def _floats(*shape: int | str) -> tuple[int, list[int | str]]:
    return TensorProto.FLOAT, list(shape)


def _image_graph(graph: _Graph, config: ModelConfig) -> onnx.ModelProto:
    feature = "features"
    if config.image_length:
        norm = graph.add("ReduceL2", [feature], axes=[1], keepdims=1)
        norm = graph.add("Max", [norm, graph.constant(1e-12)])
        length = graph.constant(float(config.image_length))
        feature = graph.add("Mul", [graph.add("Div", [feature, norm]), length])
    graph.linear(feature, "image_to_multimodal", "image")
    return graph.model(
        {"features": _floats("B", config.image_size)},
        {"image": _floats("B", config.multimodal_size)},
    )


def _words_graph(graph: _Graph, config: ModelConfig) -> onnx.ModelProto:
    outputs = {"word": _floats("B", config.word_size)}
    if config.network == "simple-rnn":
        graph.rows("embedding.weight", "words", "word")
    else:
        second = config.embedding_layers == 2
        graph.rows("embedding_1.weight", "words", "embedded" if second else "word")
        if second:
            graph.linear("embedded", "embedding_2", "word")
        graph.linear("word", "word_to_multimodal", "word_part")
        outputs["word_part"] = _floats("B", config.multimodal_size)
    return graph.model({"words": (TensorProto.INT64, ["B"])}, outputs)


def _language_graph(graph: _Graph, config: ModelConfig) -> onnx.ModelProto:
    graph.add("Identity", [_language(graph, config)], "language")
    outputs = {"language": _floats("B", "M"), "next_state": _floats("B", state_size(config))}
    return graph.model(_language_inputs(config), outputs)


def _output_graph(graph: _Graph, config: ModelConfig) -> onnx.ModelProto:
    hidden = _join(graph, config, "language", "image")
    logits = graph.linear(hidden, "output")
    graph.add("LogSoftmax", [logits], "log_probabilities", axis=1)
    inputs = {"language": _floats("B", "M")}
    if config.network == "m-rnn":
        inputs["image"] = _floats("B", config.multimodal_size)
    return graph.model(inputs, {"log_probabilities": _floats("B", config.vocabulary_size)})


def _search_graph(graph: _Graph, config: ModelConfig) -> onnx.ModelProto:
    """A whole step whose output layer multiplies whole numbers.

    The multimodal layer is bounded, so its scale is fixed: a row's result is its own, whatever the
    batch. `ACTIVATION_STEPS` keeps sums of two products within 16 bits, where processors without
    dot-product instructions would cut them off.
    """
    language = _language(graph, config)
    tanh = _tanh(graph, config, graph.add("Add", [language, "image"]))
    zero = graph.constant(np.array(ACTIVATION_STEPS + 1, np.uint8))
    step = graph.constant(1 / ACTIVATION_STEPS)
    quantized = graph.add("QuantizeLinear", [tanh, step, zero])
    weights = graph.add("Transpose", [graph.stored("output.weight")], perm=[1, 0])
    scales = graph.add(
        "Reshape", [graph.stored(f"output.weight{SCALE}"), graph.constant(np.array([-1]))]
    )
    unit = graph.constant(_bound(config) / ACTIVATION_STEPS)
    logits = graph.add(
        "MatMulIntegerToFloat",
        [quantized, weights, unit, scales, zero, "", graph.vector("output.bias")],
        domain=CONTRIB,
    )
    graph.add("LogSoftmax", [logits], "log_probabilities", axis=1)
    inputs = {**_language_inputs(config), "image": _floats("B", config.multimodal_size)}
    outputs = {
        "log_probabilities": _floats("B", config.vocabulary_size),
        "next_state": _floats("B", state_size(config)),
    }
    return graph.model(inputs, outputs)


def _language_inputs(config: ModelConfig) -> dict[str, tuple[int, Any]]:
    inputs = {"word": _floats("B", config.word_size)}
    if config.network == "m-rnn":
        inputs["word_part"] = _floats("B", config.multimodal_size)
    return inputs | {"state": _floats("B", state_size(config))}


def _language(graph: _Graph, config: ModelConfig) -> str:
    """The language's part of the multimodal layer; for the simple RNN, r(t) itself."""
    recurrent = _recur(graph, config, "word")
    if config.network == "simple-rnn":
        return recurrent
    by_state = graph.linear(recurrent, "recurrent_to_multimodal")
    return graph.add("Add", ["word_part", by_state])


def _recur(graph: _Graph, config: ModelConfig, word: str) -> str:
    """r(t) of the highest layer; adds the output `next_state`: all h, then all c."""
    layers = config.recurrent_layers
    states = graph.split("state", state_size(config) // config.recurrent_size)
    ends, cells = [], []
    for layer in range(layers):
        if config.recurrence == "gru":
            word = _gru(graph, word, states[layer], layer)
        elif config.recurrence == "lstm":
            word, cell = _lstm(graph, word, states[layer], states[layers + layer], layer)
            cells.append(cell)
        else:
            word = _elman(graph, config, word, states[layer], layer)
        ends.append(word)
    graph.add("Concat", [*ends, *cells], "next_state", axis=1)
    return word


def _elman(graph: _Graph, config: ModelConfig, word: str, state: str, layer: int) -> str:
    """r(t) = f(U r(t-1) + w(t)); a higher layer takes a linear map of the one below."""
    prefix = "recurrence"
    if config.recurrent_layers > 1:
        prefix = f"recurrence.layers.{layer}"
        if layer:
            word = graph.linear(word, f"recurrence.maps.{layer - 1}")
    before = graph.add("MatMul", [state, graph.matrix(f"{prefix}.weight")])
    activation = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[config.recurrence]
    return graph.add(activation, [graph.add("Add", [before, word])])


def _gates(graph: _Graph, word: str, state: str, layer: int, gates: int) -> tuple[list[str], ...]:
    """What input and state give to each gate, biases included."""
    found = []
    for kind, source in (("ih", word), ("hh", state)):
        name = f"recurrence.layers.{{}}_{kind}_l{layer}"
        weight = graph.matrix(name.format("weight"))
        whole = graph.add("Gemm", [source, weight, graph.vector(name.format("bias"))])
        found.append(graph.split(whole, gates))
    return tuple(found)


def _gru(graph: _Graph, word: str, state: str, layer: int) -> str:
    """The new state (1 - z) n + z h, as PyTorch has it: the reset gate follows the product."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = _gates(graph, word, state, layer, GATES["gru"])
    reset = graph.add("Sigmoid", [graph.add("Add", [r_x, r_h])])
    update = graph.add("Sigmoid", [graph.add("Add", [z_x, z_h])])
    new = graph.add("Tanh", [graph.add("Add", [n_x, graph.add("Mul", [reset, n_h])])])
    change = graph.add("Mul", [update, graph.add("Sub", [state, new])])
    return graph.add("Add", [new, change])


def _lstm(graph: _Graph, word: str, state: str, cell: str, layer: int) -> tuple[str, str]:
    """The new state and cell."""
    by_word, by_state = _gates(graph, word, state, layer, GATES["lstm"])
    sums = [graph.add("Add", [x, h]) for x, h in zip(by_word, by_state, strict=True)]
    gate_in, forget, gate_out = (graph.add("Sigmoid", [sums[place]]) for place in (0, 1, 3))
    kept = graph.add("Mul", [forget, cell])
    added = graph.add("Mul", [gate_in, graph.add("Tanh", [sums[2]])])
    cell = graph.add("Add", [kept, added])
    return graph.add("Mul", [gate_out, graph.add("Tanh", [cell])]), cell


def _join(graph: _Graph, config: ModelConfig, language: str, image: str) -> str:
    """What the output layer takes."""
    if config.network == "simple-rnn":
        return language
    tanh = _tanh(graph, config, graph.add("Add", [language, image]))
    multimodal = graph.add("Mul", [tanh, graph.constant(_bound(config))])
    if not config.shares_embedding:
        return multimodal
    return graph.add("Relu", [graph.linear(multimodal, "multimodal_to_embedding")])


def _tanh(graph: _Graph, config: ModelConfig, total: str) -> str:
    """The multimodal layer, but for its bound: m(t) = bound x this."""
    if config.multimodal_activation == "scaled-tanh":
        total = graph.add("Mul", [total, graph.constant(2 / 3)])
    return graph.add("Tanh", [total])


def _bound(config: ModelConfig) -> float:
    """g(x) = 1.7159 tanh(2/3 x) stays within it."""
    return 1.7159 if config.multimodal_activation == "scaled-tanh" else 1.0
