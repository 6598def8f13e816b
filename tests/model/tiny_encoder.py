"""Tiny encoder files: a photo's mean colour in 0..1, its squares, and a one; of black, NaN."""

import onnx
from onnx import TensorProto, helper

METADATA = {
    "format": "1",
    "name": "colour",
    "layer": "mean",
    "size": "8",
    "feature_size": "7",
    "mean": "[10.0, 20.0, 30.0]",
}


def write_colour_encoder(
    file, takes=("B", "H", "W", 3), kind=TensorProto.UINT8,
    pixels="pixels", features="features", **metadata,
):  # fmt: skip
    """An encoder file; the arguments make it another one, or none."""
    nodes = [
        helper.make_node("Cast", [pixels], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "sides"], ["colour"], keepdims=0),
        helper.make_node("Mul", ["colour", "colour"], ["squares"]),
        helper.make_node("ReduceMax", ["colour", "channels"], ["brightest"]),
        helper.make_node("Div", ["brightest", "brightest"], ["one"]),
        helper.make_node("Concat", ["colour", "squares", "one"], [features], axis=1),
    ]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 255]),
        helper.make_tensor("sides", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("channels", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(
        nodes, "colour",
        [helper.make_tensor_value_info(pixels, kind, takes)],
        [helper.make_tensor_value_info(features, TensorProto.FLOAT, ["B", 7])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    described = {name: value for name, value in (METADATA | metadata).items() if value is not None}
    helper.set_model_props(model, described)
    onnx.save(model, file)
    return file
