"""An encoder made of a network: views of a photo in, the mean of their features out.

Letters: B batch, V views, N views of a batch, C channels, H height, W width, F image feature.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import nn

from mrnn.encoders import EncoderIdentity
from mrnn.encoders.views import views_of

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
