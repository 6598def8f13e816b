"""An encoder made of a network: views of a photo in, the mean of their features out.

Letters: B batch, V views, N views of a batch, C channels, H height, W width, F image feature.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import nn

from mrnn.encoders import AT, Encoder
from mrnn.encoders.views import views_of
from mrnn.errors import OptionsError
from mrnn.model.config import EncoderIdentity

LEAST_SIZE, LARGEST_SIZE = 64, 1024
"""Of what a network is asked to see, in pixels."""
Run = Callable[[np.ndarray], np.ndarray]
"""Pixels (N x C x H x W) to features (N x F), both float32."""


@dataclass(frozen=True)
class NetworkEncoder:
    """A network, or what runs it faster, with the scale of its pixels."""

    identity: EncoderIdentity
    network: nn.Module
    run: Run
    mean: tuple[float, float, float]
    """Of red, green and blue, 0..255; what becomes 0."""
    scale: tuple[float, float, float]
    """What becomes 1, above the mean."""
    at_once: int = 16
    """Views that go through the network together."""

    def preprocess(self, photo: Image.Image) -> Float32[np.ndarray, "V C H W"]:
        """The views of an RGB photo, as (x - mean) / scale."""
        assert self.identity.fit is not None  # or there is no network
        red, green, blue = map(int, self.mean)
        views = views_of(photo, self.identity.size, self.identity.fit, (red, green, blue))
        pixels = views.transpose(0, 3, 1, 2).astype(np.float32)
        mean, scale = (np.array(x, np.float32)[:, None, None] for x in (self.mean, self.scale))
        return (pixels - mean) / scale

    def encode(self, pixels: Float32[np.ndarray, "B V C H W"]) -> Float32[np.ndarray, "B F"]:
        """The mean over the views of each photo."""
        photos, views = pixels.shape[:2]
        flat = pixels.reshape(photos * views, *pixels.shape[2:])
        parts = [self.run(flat[i : i + self.at_once]) for i in range(0, len(flat), self.at_once)]
        features: np.ndarray = np.concatenate(parts).reshape(photos, views, -1).mean(axis=1)
        return features


def resized(encoder: Encoder, size: str) -> NetworkEncoder:
    """The same network, seeing squares of `size` pixels: it pools over more places, or fewer.

    Raises OptionsError for a size that is none, or that the network does not take.
    """
    name = encoder.identity.name
    if not (size.isdecimal() and LEAST_SIZE <= int(size) <= LARGEST_SIZE):
        raise OptionsError(
            f"{name}{AT}{size}: the size is a number of pixels, {LEAST_SIZE} to {LARGEST_SIZE}"
        )
    if not isinstance(encoder, NetworkEncoder):
        raise OptionsError(f"{name} sees photos at its own size only: leave out {AT}{size}")
    side = int(size)
    try:
        features = encoder.run(np.zeros((1, 3, side, side), np.float32))
    except (RuntimeError, AssertionError, ValueError):
        features = np.zeros((0, 0))
    if features.shape != (1, encoder.identity.feature_size):
        raise OptionsError(f"{name} sees photos at its own size only: leave out {AT}{size}")
    identity = encoder.identity.model_copy(update={"name": f"{name}{AT}{side}", "size": side})
    return replace(encoder, identity=identity)


def run_by_torch(network: nn.Module) -> Run:
    """The network as PyTorch runs it; it is put into the form that is fastest there."""
    network = network.eval().requires_grad_(requires_grad=False)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(pixels).contiguous(memory_format=torch.channels_last)
        features: np.ndarray = network(batch).numpy()
        return features

    return run
