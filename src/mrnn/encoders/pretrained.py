"""Encoders of torchvision and timm: the networks of the papers, and several hundred others.

They are cut before their classifier. Their weights come from a file or from their library's home.
"""

import difflib
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import library, nn

from mrnn.encoders import PRETRAINED
from mrnn.encoders.network_encoder import NetworkEncoder, run_by_torch
from mrnn.encoders.weights import digest, download_weights, fill, read_weights
from mrnn.errors import OptionsError
from mrnn.model.config import EncoderIdentity, Fit

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of pixels in 0..1


@dataclass(frozen=True)
class _Headless:
    """A network without its classifier, empty of weights, and where these are."""

    network: nn.Module
    layer: str
    head: frozenset[str]
    """The tensors of its classifier."""
    size: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    url: str | None
    file_name: str


def load_pretrained(name: str, fit: Fit, file: Path | None = None) -> NetworkEncoder:
    """The encoder of that name, with the weights in `file` or else the library's own.

    Raises OptionsError if the library or the name is not there, CheckpointError for the weights.
    """
    tensors = read_weights(file) if file else {}  # first: what follows takes long
    try:
        found = _timm(name) if name.startswith("timm:") else _torchvision(name)
    except ImportError:
        raise OptionsError(f"The encoder {name} needs: pip install 'mrnn[vision]'") from None
    if not file:
        file = download_weights(name, found.url, found.file_name)
        tensors = read_weights(file)
    fill(found.network, tensors, found.head, file)
    run = run_by_torch(found.network)
    identity = EncoderIdentity(
        name=name,
        layer=found.layer,
        fit=fit,
        size=found.size,
        feature_size=run(np.zeros((1, 3, found.size, found.size), np.float32)).shape[1],
        weights=digest(found.network),
    )
    mean, scale = ((255 * r, 255 * g, 255 * b) for r, g, b in (found.mean, found.deviation))
    return NetworkEncoder(identity, found.network, run, mean, scale)


def _torchvision(name: str) -> _Headless:
    """fc7 of AlexNet and VGG, the second fully connected layer after its ReLU; pool5 of ResNets."""
    models = _import_torchvision().models
    with torch.device("meta"):  # the weights come next, so none are drawn at random
        network = models.get_model(name, weights=None)
    whole = set(network.state_dict())
    if name.startswith("resnet"):
        network.fc = nn.Identity()
    else:
        network.classifier = network.classifier[:-1]
    head = frozenset(whole.difference(network.state_dict()))
    url = models.get_model_weights(name)["IMAGENET1K_V1"].url
    return _Headless(network, PRETRAINED[name], head, 224, *IMAGENET, url, url.split("/")[-1])


def _timm(name: str) -> _Headless:
    """What a network of timm gives to its classifier."""
    _import_torchvision()
    timm = import_module("timm")
    own_name = name.removeprefix("timm:")
    if not timm.is_model(own_name):
        near = difflib.get_close_matches(own_name, timm.list_models(), 3, cutoff=0)
        raise OptionsError(f"timm has no network {own_name!r}; near it are {', '.join(near)}")
    try:
        source = timm.get_pretrained_cfg(own_name).to_dict()
        _, height, width = source["input_size"]
        if height != width:
            raise OptionsError(f"{name} sees {height} x {width} pixels; only squares will do")
        network = timm.create_model(own_name, pretrained=False)
    except RuntimeError as error:  # a tag, as in resnet18.a1_in1k, that is none
        raise OptionsError(f"{name}: {str(error).splitlines()[0]}") from None
    whole = set(network.state_dict())
    network.reset_classifier(0)
    head = frozenset(whole.difference(network.state_dict()))
    url = source.get("url") or None
    if source.get("hf_hub_id"):
        url = f"https://huggingface.co/{source['hf_hub_id']}/resolve/main/model.safetensors"
    return _Headless(
        network, "pooled", head, height, source["mean"], source["std"],
        url, f"{name.replace(':', '-')}.safetensors",
    )  # fmt: skip


@cache
def _import_torchvision() -> ModuleType:
    """torchvision, also where PyPI's, built for CUDA, lies beside a torch without it.

    There its compiled operators do not load, and its import stops at the first one that it
    describes. None of them is needed here: it is enough that these two have a signature.
    """
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[module]  # half imported
    _declare_operators()
    return import_module("torchvision")


@cache  # what is declared lasts as long as the library that declares it
def _declare_operators() -> object:
    operators: Any = library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return operators
