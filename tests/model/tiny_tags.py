"""Tag files of a tiny world: a classifier of four classes, and a detector of persons and dogs."""

import json

import numpy as np
from safetensors.numpy import save_file

from mrnn.model.config import EncoderIdentity
from mrnn.model.quantization import quantize

NAMES = ("animal", "dog", "cat", "poodle", "beagle", "tabby", "person", "espresso")
PARENTS = ((), (0,), (0,), (1,), (1,), (2,), (), ())
CLASSES = (3, 4, 5, 7)
DETECTED = (6, 1)
SIZE = 7
"""Of the classifier's feature: the first four values are the scores of its classes."""
WEIGHTS = tuple((0.0, 1.0, 0.5) if name == "animal" else (0.5, 1.0, 0.0) for name in NAMES)
THRESHOLDS = {"detector": 0.5, "leaf": 0.5, "parent": 0.6}


def content(**changes):
    """What tags.json holds; the changes make it another."""
    temperatures = dict.fromkeys(("colour", "one", "one+two"), 2.0)
    calibration = {"temperatures": temperatures, "thresholds": THRESHOLDS, "weights": WEIGHTS}
    tags = [{"names": [n], "parents": p} for n, p in zip(NAMES, PARENTS, strict=True)]
    tags[5]["names"] = ["tabby", "tabby cat"]
    known = {
        "format": 1,
        "tags": tags,
        "imagenet": CLASSES,
        "detector": {"encoder": "boxes", "scale": 8.0, "tags": DETECTED},
        "calibrations": dict.fromkeys(("classifiers", "detector", "both"), calibration),
    }
    return known | changes


def write_tags(folder, name="colour", weights=None, **changes):
    """Both files."""
    (folder / "tags.json").write_text(json.dumps(content(**changes)))
    if weights is None:
        weights = np.eye(len(CLASSES), SIZE, dtype=np.float32)
    bias = np.zeros(len(weights), np.float32)
    save_file(quantize({name: weights, f"{name}.bias": bias}), folder / "tags.safetensors")
    return folder


def identity(name="colour@8+boxes", size=SIZE + 8):
    return EncoderIdentity(
        name=name, layer="", resize_mode="squash", size=8, feature_size=size, weights=""
    )


def feature(poodle=0, beagle=0, tabby=0, espresso=0, persons=(0, 0), dogs=(0, 0)):
    """Scores of the classes, then the best score and the count of persons and dogs."""
    row = np.zeros(SIZE + 8, np.float32)
    row[:4] = poodle, beagle, tabby, espresso
    boxes = [persons[0], dogs[0], 0, 0, 0, 0, persons[1] / 3, dogs[1] / 3]
    row[SIZE:] = np.multiply(boxes, 8)
    return row
