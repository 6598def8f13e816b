"""Export of a bundle: a trained model and its image encoder in one folder, for any machine.

A bundle is finished only if its features, log-probabilities and captions of fixed photos agree with
PyTorch's.

Letters: N photos, F image feature.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file

from mrnn import __version__
from mrnn.captioning.captioner import Captioner
from mrnn.captioning.decode import decode
from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions
from mrnn.model.image_encoder import ImageEncoder
from mrnn.model.manifest import write_manifest
from mrnn.model.model_files import copy_model, networks_of
from mrnn.model.network import WEIGHTS, Network
from mrnn.model.quantization import dequantize
from mrnn.outputs import check_new_folder, new_folder
from mrnn.shapes import Float
from mrnn.training.encoders.efficientnet_lite import WIDTH_DEPTH_SIZE
from mrnn.training.encoders.export import EFFICIENTNET_LITE, difference_from_torch, load_headless
from mrnn.training.network import TorchLanguageModel, network_of

TOLERANCE = 1e-3
"""Largest difference from PyTorch: of a log-probability, in nats; of a caption's score; of a
feature, relative to its length."""
SEARCH_TOLERANCE = 0.3
"""Nats: largest difference of a log-probability of the int8 graph."""
PHOTOS, SIDES = 6, (320, 240)
WORDS = 8


@dataclass(frozen=True)
class BundleReport:
    """How close a bundle is to PyTorch, on the fixed photos."""

    megabytes: float
    features: float | None
    """Largest difference, relative to the length of a feature; None for an encoder whose weights
    PyTorch does not have, which was compared when it was exported."""
    log_probabilities: float
    """Largest difference, in nats."""
    captions: int
    """Captions that agree: all."""


def export_bundle(run: Path, out: Path, encoder_file: Path | None = None) -> BundleReport:
    """Write the bundle of the model in `run` to a new folder, whole or not at all.

    Raises OptionsError where `out` exists; CheckpointError where the model is damaged, lacks its
    encoder, or disagrees with PyTorch.
    """
    check_new_folder("--out", out)
    checkpoint = Checkpoint.load(run)
    if checkpoint.encoder.imported:
        raise CheckpointError(
            f"{run} was trained on imported features, so no encoder can go with it; other "
            "machines can use a copy of the folder"
        )
    encoder = checkpoint.load_encoder(encoder_file)
    with new_folder("--out", out) as folder:
        copy_model(checkpoint, encoder, folder)
        write_manifest(folder, __version__)
        return _compare(folder, run)


def fixed_photos() -> list[Image.Image]:
    """Photos of coloured waves, the same on every machine."""
    across, down = np.meshgrid(np.linspace(0, 1, SIDES[0]), np.linspace(0, 1, SIDES[1]))
    photos = []
    for number in range(1, PHOTOS + 1):
        waves = [np.sin(number * (2 + c) * across + (5 - c) * number * down) for c in range(3)]
        pixels = 127.5 + 127.5 * np.stack(waves, axis=2)
        photos.append(Image.fromarray(pixels.astype(np.uint8)))
    return photos


def _compare(folder: Path, run: Path) -> BundleReport:
    """Raises CheckpointError where the bundle of `run` in the folder and PyTorch disagree."""
    captioner = Captioner.load(folder)
    encoder, network = captioner.encoder, captioner.checkpoint.network
    difference = _feature_difference(encoder)
    features = np.stack([encoder.encode(encoder.preprocess(each)) for each in fixed_photos()])
    trained = _torch_model(captioner.checkpoint)
    nats, nats_of_search = _largest_differences(network, trained, features)
    mend = "train the model again, or take another copy of its folder"
    if not (nats <= TOLERANCE and nats_of_search <= SEARCH_TOLERANCE):
        raise CheckpointError(
            f"{run}: log-probabilities differ from PyTorch's by {nats:.3g} nats, those of search "
            f"by {nats_of_search:.3g}; {mend}"
        )
    if (wrong := _unequal_captions(network, trained, features)) > 0:
        raise CheckpointError(
            f"{run}: {wrong} of {len(features)} captions differ from PyTorch's; {mend}"
        )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return BundleReport(size / 1e6, difference, nats, len(features))


def _feature_difference(encoder: ImageEncoder) -> float | None:
    """The largest difference from PyTorch of those parts whose weights are installed."""
    installed = {f"{EFFICIENTNET_LITE}{variant}" for variant in WIDTH_DEPTH_SIZE}
    found = []
    for part in networks_of(encoder):
        if part.file.stem not in installed:
            continue
        found.append(difference_from_torch(part, load_headless(part.file.stem)))
        if not found[-1] <= TOLERANCE:
            raise CheckpointError(
                f"Features of {part.identity.name} differ from PyTorch's by {found[-1]:.1%}; "
                "reinstall mrnn: pip install --force-reinstall --no-deps mrnn"
            )
    return max(found, default=None)


def _torch_model(checkpoint: Checkpoint) -> TorchLanguageModel:
    """The network of a checkpoint in PyTorch."""
    network = network_of(checkpoint.config.model).eval()
    tensors = dequantize(load_file(checkpoint.folder / WEIGHTS))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.from_numpy(tensors[name]))
    return TorchLanguageModel(network)


def _largest_differences(
    network: Network, trained: TorchLanguageModel, features: Float[np.ndarray, "N F"]
) -> tuple[float, float]:
    """In nats, over random sentences: of exact log-probabilities, and of those of search."""
    random = np.random.default_rng(0)
    image, state = network.encode_image(features), network.initial_state(len(features))
    other_image, other_state = trained.encode_image(features), state
    exact, search = [0.0], [0.0]
    for _ in range(WORDS):
        words = random.integers(3, network.config.vocabulary_size, len(features))
        searched, _ = network.search_step(words, state, image)
        found, state = network.step(words, state, image)
        expected, other_state = trained.step(words, other_state, other_image)
        exact.append(float(np.abs(found - expected).max()))
        search.append(float(np.abs(searched - expected).max()))
    return float(np.max(exact)), float(np.max(search))  # NaN stays NaN


def _unequal_captions(
    network: Network, trained: TorchLanguageModel, features: Float[np.ndarray, "N F"]
) -> int:
    """How many captions differ; equally likely ones do not."""
    options = DecodingOptions(beam_size=5, max_length=20)
    ours, theirs = (
        [best for best, *_ in decode(model, model.encode_image(features), options)]
        for model in (network, trained)
    )
    return sum(
        one.words != other.words and abs(one.score - other.score) > TOLERANCE
        for one, other in zip(ours, theirs, strict=True)
    )
