"""Networks of torchvision and timm, cut before their classifier.

Their weights come from a file or from their library's home.
"""

import difflib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from mrnn.errors import MissingExtraError, OptionsError
from mrnn.training.encoders.encoder_file import RGB
from mrnn.training.encoders.headless import HeadlessNetwork
from mrnn.training.encoders.weights import download_weights, fill, read_weights

LAYERS = {
    **dict.fromkeys(("alexnet", "vgg16", "vgg19"), "fc7"),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152"), "pool5"),
}
"""The layer that is taken of each network of torchvision."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of pixels in 0..1."""


@dataclass(frozen=True)
class _Source:
    """A network empty of weights, and where these are."""

    network: nn.Module
    layer: str
    head: frozenset[str]
    """The tensors of its classifier."""
    size: int
    mean: RGB
    deviation: RGB
    url: str | None
    file_name: str


def load_pretrained(name: str, weights: Path | None = None) -> HeadlessNetwork:
    """The network of that name, with the weights in a file or else the library's own.

    Raises MissingExtraError for the library, OptionsError for the name, CheckpointError for the
    weights.
    """
    tensors = read_weights(weights) if weights else {}  # first: what follows takes long
    try:
        found = _timm(name) if name.startswith("timm:") else _torchvision(name)
    except ImportError:
        raise MissingExtraError(
            f"Exporting {name} needs torchvision and timm. Run: pip install 'mrnn[vision]'"
        ) from None
    if not weights:
        weights = download_weights(name, found.url, found.file_name)
        tensors = read_weights(weights)
    fill(found.network, tensors, found.head, weights)
    network = found.network.eval().requires_grad_(requires_grad=False)
    mean, scale = ((255 * r, 255 * g, 255 * b) for r, g, b in (found.mean, found.deviation))
    return HeadlessNetwork(network, name, found.layer, found.size, mean, scale)


def _torchvision(name: str) -> _Source:
    """fc7 of AlexNet and VGG, the second fully connected layer after its ReLU; pool5 of ResNets."""
    models = _import_torchvision().models
    with torch.device("meta"):  # the weights are loaded next, so none are sampled
        network = models.get_model(name, weights=None)
    whole = set(network.state_dict())
    if name.startswith("resnet"):
        network.fc = nn.Identity()
    else:
        network.classifier = network.classifier[:-1]
    head = frozenset(whole.difference(network.state_dict()))
    url = models.get_model_weights(name)["IMAGENET1K_V1"].url
    return _Source(network, LAYERS[name], head, 224, *IMAGENET, url, url.split("/")[-1])


def _timm(name: str) -> _Source:
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
    return _Source(
        network, "pooled", head, height, source["mean"], source["std"],
        url, f"{name.replace(':', '-')}.safetensors",
    )  # fmt: skip


def _import_torchvision() -> ModuleType:
    """Raises OptionsError for one whose operators were built for another torch."""
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        raise OptionsError(
            f"torchvision was not made for the torch that is installed ({error}); install both "
            "again from one index: pip install --force-reinstall torch torchvision"
        ) from None
