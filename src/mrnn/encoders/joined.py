"""Several encoders as one: their features, end to end.

Letters: B batch, V views, C channels, H height, W width, F image feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from PIL import Image

from mrnn.encoders import JOINT, Encoder
from mrnn.model.config import EncoderIdentity


@dataclass(frozen=True)
class JoinedEncoder:
    """Encoders with one fit, in the order of their features."""

    parts: Sequence[Encoder]

    @property
    def identity(self) -> EncoderIdentity:
        """Of all parts; its size is that of the largest."""
        known = [part.identity for part in self.parts]
        return EncoderIdentity(
            name=JOINT.join(each.name for each in known),
            layer=JOINT.join(each.layer for each in known),
            fit=known[0].fit,
            size=max(each.size for each in known),
            feature_size=sum(each.feature_size for each in known),
            weights=JOINT.join(each.weights for each in known),
        )

    def preprocess(self, photo: Image.Image) -> Float32[np.ndarray, "V C H W"]:
        """The views of every part, one part after the other; small ones lie in the top left."""
        views = [part.preprocess(photo) for part in self.parts]
        side = self.identity.size
        pixels = np.zeros((sum(map(len, views)), 3, side, side), dtype=np.float32)
        start = 0
        for view in views:
            pixels[start : start + len(view), :, : view.shape[2], : view.shape[3]] = view
            start += len(view)
        return pixels

    def encode(self, pixels: Float32[np.ndarray, "B V C H W"]) -> Float32[np.ndarray, "B F"]:
        """The features of every part, one after the other."""
        views = pixels.shape[1] // len(self.parts)
        features = []
        for place, part in enumerate(self.parts):
            side = part.identity.size
            own = pixels[:, place * views : (place + 1) * views, :, :side, :side]
            features.append(part.encode(np.ascontiguousarray(own)))
        return np.concatenate(features, axis=1)
