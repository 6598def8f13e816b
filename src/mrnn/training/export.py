"""The graphs of a trained network: ONNX files of a few kB whose weights are in model.safetensors.

    image.onnx      features -> image                          V_I I, once per image
    words.onnx      words -> word, word_part                   w(t) and V_w w(t), once per word
    language.onnx   word, word_part, state -> language, next_state      V_w w(t) + V_r r(t)
    output.onnx     language, image -> log_probabilities       float32
    search.onnx     language, image -> log_probabilities       int8, for search

A graph refers to weights by byte offset. The layout of model.safetensors depends on the sizes of a
network alone, so the graphs stay valid when the weights are replaced.

Letters: B batch, F image feature, M multimodal, S state, V vocabulary.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from mrnn.model.config import ModelConfig
from mrnn.model.network import (
    ACTIVATION_STEPS,
    GATES,
    IMAGE,
    LANGUAGE,
    LAYOUT,
    MODEL,
    OUTPUT,
    SEARCH,
    WEIGHTS,
    WORDS,
    describe,
    searches_in_int8,
    state_size,
)
from mrnn.model.quantization import SCALE
from mrnn.model.tensor_file import read_layout
from mrnn.outputs import write_whole
from mrnn.training.graph import CONTRIB, Form, Graph, floats

SCALED_TANH = 1.7159
"""g(x) = 1.7159 tanh(2/3 x)."""


def export_graphs(folder: Path, config: ModelConfig) -> None:
    """Write the graphs for the weights in the folder."""
    tensors, digest = read_layout(folder / WEIGHTS)
    graphs = {WORDS: _words_graph, LANGUAGE: _language_graph, OUTPUT: _output_graph}
    if config.sees_image:
        graphs[IMAGE] = _image_graph
    if searches_in_int8(config):
        graphs[SEARCH] = _search_graph
    for name, build in graphs.items():
        model = build(Graph(tensors), config)
        onnx.helper.set_model_props(model, {LAYOUT: digest, MODEL: describe(config)})
        write_whole(folder / name, model.SerializeToString())


def _image_graph(graph: Graph, config: ModelConfig) -> onnx.ModelProto:
    feature = "features"
    if config.image_length:
        norm = graph.add("ReduceL2", [feature], axes=[1], keepdims=1)
        norm = graph.add("Max", [norm, graph.constant(1e-12)])
        length = graph.constant(float(config.image_length))
        feature = graph.add("Mul", [graph.add("Div", [feature, norm]), length])
    graph.linear(feature, "image_to_multimodal", "image")
    return graph.model(
        {"features": floats("B", config.image_size)},
        {"image": floats("B", config.multimodal_size)},
    )


def _words_graph(graph: Graph, config: ModelConfig) -> onnx.ModelProto:
    outputs = {"word": floats("B", config.word_size)}
    if config.network == "simple-rnn":
        graph.rows("embedding.weight", "words", "word")
    else:
        second = config.embedding_layers == 2
        graph.rows("embedding_1.weight", "words", "embedded" if second else "word")
        if second:
            graph.linear("embedded", "embedding_2", "word")
        graph.linear("word", "word_to_multimodal", "word_part")
        outputs["word_part"] = floats("B", config.multimodal_size)
    return graph.model({"words": (TensorProto.INT64, ["B"])}, outputs)


def _language_graph(graph: Graph, config: ModelConfig) -> onnx.ModelProto:
    graph.add("Identity", [_language(graph, config)], "language")
    outputs = {"language": floats("B", "M"), "next_state": floats("B", state_size(config))}
    return graph.model(_language_inputs(config), outputs)


def _output_graph(graph: Graph, config: ModelConfig) -> onnx.ModelProto:
    hidden = _join(graph, config, "language", "image")
    weight = "embedding_1.weight" if config.shares_embedding else "output.weight"
    logits = graph.add("Gemm", [hidden, graph.matrix(weight), graph.vector("output.bias")])
    graph.add("LogSoftmax", [logits], "log_probabilities", axis=1)
    inputs = {"language": floats("B", "M")}
    if config.network == "m-rnn":
        inputs["image"] = floats("B", config.multimodal_size)
    return graph.model(inputs, {"log_probabilities": floats("B", config.vocabulary_size)})


def _search_graph(graph: Graph, config: ModelConfig) -> onnx.ModelProto:
    """As output.onnx, with an int8 output layer.

    The multimodal layer is bounded, so one fixed scale quantizes it, and a row's result does not
    depend on its batch. With `ACTIVATION_STEPS` the sum of two products fits 16 bits: processors
    without dot-product instructions saturate there.
    """
    tanh = _tanh(graph, config, graph.add("Add", ["language", "image"]))
    zero = graph.constant(np.array(ACTIVATION_STEPS + 1, np.uint8))
    step = graph.constant(1 / ACTIVATION_STEPS)
    quantized = graph.add("QuantizeLinear", [tanh, step, zero])
    weights = graph.add("Transpose", [graph.stored("output.weight")], perm=[1, 0])
    scales = graph.add(
        "Reshape", [graph.stored(f"output.weight{SCALE}"), graph.constant(np.array([-1]))]
    )
    scale = graph.constant(_bound(config) / ACTIVATION_STEPS)
    logits = graph.add(
        "MatMulIntegerToFloat",
        [quantized, weights, scale, scales, zero, "", graph.vector("output.bias")],
        domain=CONTRIB,
    )
    graph.add("LogSoftmax", [logits], "log_probabilities", axis=1)
    size = config.multimodal_size
    inputs = {"language": floats("B", size), "image": floats("B", size)}
    return graph.model(inputs, {"log_probabilities": floats("B", config.vocabulary_size)})


def _language_inputs(config: ModelConfig) -> dict[str, Form]:
    inputs = {"word": floats("B", config.word_size)}
    if config.network == "m-rnn":
        inputs["word_part"] = floats("B", config.multimodal_size)
    return inputs | {"state": floats("B", state_size(config))}


def _language(graph: Graph, config: ModelConfig) -> str:
    """The language's part of the multimodal layer; for the simple RNN, r(t) itself."""
    recurrent = _recur(graph, config, "word")
    if config.network == "simple-rnn":
        return recurrent
    by_state = graph.linear(recurrent, "recurrent_to_multimodal")
    return graph.add("Add", ["word_part", by_state])


def _recur(graph: Graph, config: ModelConfig, word: str) -> str:
    """r(t) of the highest layer. Adds the output `next_state`: h of all layers, then c of all."""
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


def _elman(graph: Graph, config: ModelConfig, word: str, state: str, layer: int) -> str:
    """r(t) = f(U r(t-1) + w(t)), see `mrnn.training.recurrent_layers`."""
    prefix = "recurrence"
    if config.recurrent_layers > 1:
        prefix = f"recurrence.layers.{layer}"
        if layer:
            word = graph.linear(word, f"recurrence.maps.{layer - 1}")
    product = graph.add("MatMul", [state, graph.matrix(f"{prefix}.weight")])
    activation = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[config.recurrence]
    return graph.add(activation, [graph.add("Add", [product, word])])


def _gates(graph: Graph, word: str, state: str, layer: int, gates: int) -> tuple[list[str], ...]:
    """The parts of each gate's argument from the input and from the state, biases included."""
    found = []
    for kind, source in (("ih", word), ("hh", state)):
        name = f"recurrence.layers.{{}}_{kind}_l{layer}"
        weight = graph.matrix(name.format("weight"))
        whole = graph.add("Gemm", [source, weight, graph.vector(name.format("bias"))])
        found.append(graph.split(whole, gates))
    return tuple(found)


def _gru(graph: Graph, word: str, state: str, layer: int) -> str:
    """The new state (1 - z) n + z h; as in PyTorch, the reset gate follows the product."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = _gates(graph, word, state, layer, GATES["gru"])
    reset = graph.add("Sigmoid", [graph.add("Add", [r_x, r_h])])
    update = graph.add("Sigmoid", [graph.add("Add", [z_x, z_h])])
    new = graph.add("Tanh", [graph.add("Add", [n_x, graph.add("Mul", [reset, n_h])])])
    change = graph.add("Mul", [update, graph.add("Sub", [state, new])])
    return graph.add("Add", [new, change])


def _lstm(graph: Graph, word: str, state: str, cell: str, layer: int) -> tuple[str, str]:
    """The new state and cell."""
    by_word, by_state = _gates(graph, word, state, layer, GATES["lstm"])
    sums = [graph.add("Add", [x, h]) for x, h in zip(by_word, by_state, strict=True)]
    gate_in, forget, gate_out = (graph.add("Sigmoid", [sums[place]]) for place in (0, 1, 3))
    kept = graph.add("Mul", [forget, cell])
    added = graph.add("Mul", [gate_in, graph.add("Tanh", [sums[2]])])
    cell = graph.add("Add", [kept, added])
    return graph.add("Mul", [gate_out, graph.add("Tanh", [cell])]), cell


def _join(graph: Graph, config: ModelConfig, language: str, image: str) -> str:
    """The input of the output layer."""
    if config.network == "simple-rnn":
        return language
    tanh = _tanh(graph, config, graph.add("Add", [language, image]))
    multimodal = graph.add("Mul", [tanh, graph.constant(_bound(config))])
    if not config.shares_embedding:
        return multimodal
    return graph.add("Relu", [graph.linear(multimodal, "multimodal_to_embedding")])


def _tanh(graph: Graph, config: ModelConfig, total: str) -> str:
    """The multimodal layer divided by its bound."""
    if config.multimodal_activation == "scaled-tanh":
        total = graph.add("Mul", [total, graph.constant(2 / 3)])
    return graph.add("Tanh", [total])


def _bound(config: ModelConfig) -> float:
    """The largest absolute value of the multimodal layer."""
    return SCALED_TANH if config.multimodal_activation == "scaled-tanh" else 1.0
