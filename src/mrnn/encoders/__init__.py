"""Image encoders: a photo in, a feature vector out, and an identity that says exactly how."""

from collections.abc import Callable
from typing import Literal, Protocol, cast, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float32
from PIL import Image
from pydantic import BaseModel, ConfigDict

from mrnn.errors import OptionsError

Fit = Literal["crop", "squash", "pad"]


class EncoderIdentity(BaseModel):
    """What makes two features comparable: they are if, and only if, their identities are equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layer: str
    fit: Fit
    """How a photo becomes a square: its centre cut out, its sides squashed, or bars added."""
    size: int
    """Side, in pixels, of the square that the network sees."""
    feature_size: int
    weights: str
    """The first 16 hexadecimal digits of the SHA-256 of the weights file."""

    def __str__(self) -> str:
        return f"{self.name} ({self.layer}, {self.fit}, {self.size} px, weights {self.weights})"


@runtime_checkable
class Encoder(Protocol):
    """An image encoder; one object, used for training features and for new photos alike."""

    @property
    def identity(self) -> EncoderIdentity:
        """What tells its features from those of any other encoder."""
        ...

    def preprocess(self, photo: Image.Image) -> Float32[np.ndarray, "C H W"]:
        """What the network sees of an RGB photo."""
        ...

    def encode(self, pixels: Float32[np.ndarray, "B C H W"]) -> Float32[np.ndarray, "B F"]:
        """Features of preprocessed photos."""
        ...


def _efficientnet_lite(variant: int) -> Callable[[Fit], Encoder]:
    def load(fit: Fit) -> Encoder:
        from mrnn.encoders.efficientnet_lite import load_efficientnet_lite

        return load_efficientnet_lite(variant, fit)

    return load


ENCODERS: dict[str, Callable[[Fit], Encoder]] = {
    f"efficientnet-lite{variant}": _efficientnet_lite(variant) for variant in (0, 1, 2)
}
DEFAULT_ENCODER = "efficientnet-lite2"
DEFAULT_FIT: Fit = "squash"


def load_encoder(name: str = DEFAULT_ENCODER, fit: str = DEFAULT_FIT) -> Encoder:
    """The encoder of that name, with its ImageNet weights."""
    if name not in ENCODERS:
        raise OptionsError(f"There is no encoder {name!r}; those there are: {', '.join(ENCODERS)}")
    if fit not in get_args(Fit):
        raise OptionsError(f"A photo is fitted by {', '.join(get_args(Fit))}, not by {fit!r}")
    return ENCODERS[name](cast("Fit", fit))
