"""A network without its classifier."""

from dataclasses import dataclass

from torch import nn

from mrnn.training.encoders.encoder_file import RGB


@dataclass(frozen=True)
class HeadlessNetwork:
    """What an export needs: normalised pixels (B x 3 x H x W) go in, features (B x F) come out."""

    network: nn.Module
    name: str
    layer: str
    size: int
    """Side of the input, in pixels."""
    mean: RGB
    """Of red, green and blue, 0..255; normalised pixels are (x - mean) / scale."""
    scale: RGB
