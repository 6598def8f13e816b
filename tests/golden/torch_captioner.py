"""A captioner whose networks are PyTorch's: what the runtime must agree with."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch

from mrnn.captioning.captioner import Captioner
from mrnn.model.image_encoder import SHIPPED, JoinedEncoder
from mrnn.model.network import Network
from mrnn.training.encoders.efficientnet_lite import (
    WIDTH_DEPTH_SIZE,
    headless_lite,
    read_network,
)
from mrnn.training.encoders.encoder_file import read_initializers
from mrnn.training.encoders.export import load_headless
from mrnn.training.encoders.headless import HeadlessNetwork
from mrnn.training.network import TorchLanguageModel
from tests.torch_network import torch_network

LITES = [f"efficientnet-lite{variant}" for variant in WIDTH_DEPTH_SIZE]
TUNED = "efficientnet-lite2-captions"


class TorchNetwork(Network):
    """The network as training defines it, with the weights of the checkpoint's file."""

    def __init__(self, checkpoint):
        super().__init__(checkpoint.folder, checkpoint.config.model, weights=b"")
        model = TorchLanguageModel(torch_network(checkpoint))
        self.encode_image, self.step, self.search_step = model.encode_image, model.step, model.step


@dataclass(frozen=True)
class TorchEncoder:
    """The shipped encoders, from the weights of their packages; the detector is its own file.

    So is the fine-tuned one, but its weights are in PyTorch's layers.
    """

    encoder: JoinedEncoder
    networks: list[HeadlessNetwork | None]

    @property
    def identity(self):
        return self.encoder.identity

    def preprocess(self, photo):
        return self.encoder.preprocess(photo)

    @torch.inference_mode()
    def encode(self, pixels):
        features = []
        for part, headless, crops in zip(self.encoder.parts, self.networks, pixels, strict=True):
            if headless is None:
                features.append(part.encode((crops,)))
                continue
            mean, scale = (torch.tensor(x)[:, None, None] for x in (headless.mean, headless.scale))
            normal = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - mean) / scale
            features.append(headless.network(normal).mean(0).numpy())
        return np.concatenate(features)


def by_torch(captioner):
    """The same model by PyTorch."""
    names = [part.identity.name.partition("@")[0] for part in captioner.encoder.parts]
    networks = [_network_of(name) for name in names]
    encoder = TorchEncoder(captioner.encoder, networks)
    network = TorchNetwork(captioner.checkpoint)
    checkpoint = replace(captioner.checkpoint, network=network)
    return Captioner(checkpoint, encoder, captioner.consensus)


def _network_of(name):
    if name in LITES:
        return load_headless(name)
    if name != TUNED:
        return None
    layers = read_network(read_initializers(onnx.load(SHIPPED / f"{name}.onnx")), variant=2)
    return headless_lite(layers, name, variant=2)
