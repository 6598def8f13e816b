"""Headless networks as encoder files: ONNX that takes uint8 pixels and says what it is.

Normalisation is part of the graph.

Letters: B batch, H height, W width, F image feature.
"""

import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from mrnn.errors import MissingExtraError, OptionsError
from mrnn.model.image_encoder import (
    AT,
    FEATURES,
    JOINT,
    LARGEST,
    PIXELS,
    SMALLEST,
    OnnxEncoder,
    open_encoder,
)
from mrnn.shapes import Float, UInt8
from mrnn.training.encoders.efficientnet_lite import WIDTH_DEPTH_SIZE, load_efficientnet_lite
from mrnn.training.encoders.efficientnet_lite_graph import OPSET, efficientnet_lite_graph
from mrnn.training.encoders.encoder_file import (
    describe,
    quantize_initializers,
    strip,
    write_encoder,
)
from mrnn.training.encoders.headless import HeadlessNetwork
from mrnn.training.encoders.pretrained import LAYERS, load_pretrained

TOLERANCE = 0.01
"""Largest difference from PyTorch, relative to the length of the feature."""
EFFICIENTNET_LITE = "efficientnet-lite"


def export_encoder(name: str, file: Path, weights: Path | None = None) -> OnnxEncoder:
    """Write the encoder `name` to an ONNX file, and open that.

    EfficientNet-Lite takes squares of any size; others of their own, or of SIZE as NAME@SIZE.
    `weights` is a state dict to take in place of the library's own. Raises OptionsError for the
    name, CheckpointError for the weights, OSError if the file cannot be written.
    """
    if weights and weights.resolve() == file.resolve():
        raise OptionsError(f"--out {file} would replace --weights; name another file")
    headless = load_headless(name, weights)
    is_lite = headless.name.startswith(EFFICIENTNET_LITE)
    graph = efficientnet_lite_graph if is_lite else traced_graph
    return write_headless(headless, graph(headless), file)


def write_headless(headless: HeadlessNetwork, model: onnx.ModelProto, file: Path) -> OnnxEncoder:
    """Write a network and its graph as an encoder file, and open that. Raises as above."""
    strip(model)
    quantize_initializers(model)
    pixels = torch.from_numpy(_smooth_pixels(headless.size))
    length = _Normalized(headless)(pixels).shape[1]
    describe(model, headless.name, headless.layer, headless.size, length, headless.mean)
    write_encoder(model, file, lambda encoder: _compare(encoder, headless))
    return open_encoder(file, "squash")


def load_headless(name: str, weights: Path | None = None) -> HeadlessNetwork:
    """EfficientNet-Lite, or one of torchvision or timm, with its weights. Raises as above."""
    own, at, size = name.partition(AT)
    variants = {f"{EFFICIENTNET_LITE}{variant}": variant for variant in WIDTH_DEPTH_SIZE}
    if own in variants:
        if weights:
            raise OptionsError(f"{own} has its own weights: no --weights here")
        if at:
            raise OptionsError(f"{own} takes squares of any size: export it without {AT}{size}")
        return load_efficientnet_lite(variants[own])
    if JOINT in name or (own not in LAYERS and not own.startswith("timm:")):
        known = ", ".join([*variants, *LAYERS])
        raise OptionsError(f"{name!r} cannot be exported; what can: {known}, timm:NAME")
    if at and not (size.isdecimal() and SMALLEST <= int(size) <= LARGEST):
        raise OptionsError(f"{name}: the size is a number of pixels, {SMALLEST} to {LARGEST}")
    headless = load_pretrained(own, weights)
    return replace(headless, name=name, size=int(size)) if at else headless


# Graphs


class _Normalized(nn.Module):
    """The network with normalisation before it."""

    mean: Tensor
    scale: Tensor

    def __init__(self, headless: HeadlessNetwork) -> None:
        super().__init__()
        self.network = headless.network
        self.register_buffer("mean", torch.tensor(headless.mean)[:, None, None])
        self.register_buffer("scale", torch.tensor(headless.scale)[:, None, None])

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Float[Tensor, "B F"]:
        """Features of uint8 pixels, B x H x W x 3."""
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.scale
        features: Tensor = self.network(x)
        return features


def traced_graph(headless: HeadlessNetwork) -> onnx.ModelProto:
    """What PyTorch exports of any network, for squares of its size.

    Raises OptionsError for a network that does not take that size.
    """
    normalized = _Normalized(headless).eval()
    pixels = torch.zeros(2, headless.size, headless.size, 3, dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            normalized(pixels)
            program = torch.onnx.export(
                normalized, (pixels,), dynamo=True, verbose=False, opset_version=OPSET,
                input_names=[PIXELS], output_names=[FEATURES],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
    except ImportError:  # of onnxscript
        raise MissingExtraError(
            f"Exporting {headless.name} needs onnxscript. Run: pip install 'mrnn[vision]'"
        ) from None
    except (RuntimeError, AssertionError, ValueError) as error:
        line = str(error).splitlines()[0][:100]
        raise OptionsError(
            f"{headless.name} does not take squares of {headless.size} pixels ({line}); leave out "
            f"{AT}{headless.size}"
        ) from None
    finally:
        logger.setLevel(level)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _smooth_pixels(size: int) -> UInt8[np.ndarray, "B H W 3"]:
    """Two photos of soft colours, always the same."""
    small = np.random.default_rng(0).random((2, 3, 6, 6), dtype=np.float32) * 255
    large = nn.functional.interpolate(torch.from_numpy(small), size=size, mode="bilinear")
    return large.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def difference_from_torch(encoder: OnnxEncoder, headless: HeadlessNetwork) -> float:
    """How far features of two soft photos are from PyTorch's, relative to their length."""
    pixels = _smooth_pixels(encoder.identity.size)
    expected = _Normalized(headless)(torch.from_numpy(pixels)).numpy()
    found = np.stack([encoder.encode((photo[None],)) for photo in pixels])
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _compare(encoder: OnnxEncoder, headless: HeadlessNetwork) -> None:
    """Raises OptionsError if the file does not compute what PyTorch does."""
    error = difference_from_torch(encoder, headless)
    if not error <= TOLERANCE:
        raise OptionsError(
            f"The export of {encoder.identity.name} differs from PyTorch by {error:.1%}: ONNX does "
            "not have all that it computes; take another network"
        )
