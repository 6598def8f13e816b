"""Export of a bundle: a trained model with its image encoder, for any machine.

A bundle is finished only if features, log-probabilities and captions of fixed photos agree with
PyTorch's.

Letters: N photos, F image feature, X hypotheses.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file

from mrnn import __version__
from mrnn.captioning.captioner import Captioner
from mrnn.captioning.decode import decode
from mrnn.errors import CheckpointError, OptionsError
from mrnn.model.checkpoint import CONFIG, ENCODERS, VOCABULARY, Checkpoint
from mrnn.model.config import DecodingOptions
from mrnn.model.heads import HEADS
from mrnn.model.image_encoder import JoinedEncoder, OnnxEncoder, encoder_file_name
from mrnn.model.manifest import write_manifest
from mrnn.model.network import GRAPHS, WEIGHTS, Network
from mrnn.model.quantization import dequantize
from mrnn.shapes import Float
from mrnn.training.encoders.efficientnet_lite import WIDTH_DEPTH_SIZE
from mrnn.training.encoders.export import EFFICIENTNET_LITE, difference_from_torch, load_headless
from mrnn.training.model_card import MODEL_CARD
from mrnn.training.network import TorchLanguageModel, network_of

TOLERANCE = 1e-3
"""Nats: the largest difference of a log-probability from PyTorch's."""
FEATURE_TOLERANCE = 1e-3
"""The largest difference of a feature, relative to its length."""
PHOTOS, SIDES = 6, (320, 240)


@dataclass(frozen=True)
class BundleReport:
    """How near a bundle is to PyTorch, on the fixed photos."""

    megabytes: float
    features: float
    """Largest difference, relative to the length of a feature."""
    log_probabilities: float
    """Largest difference, in nats."""
    captions: int
    """That are equal: all."""


def export_bundle(run: Path, out: Path, encoder_file: Path | None = None) -> BundleReport:
    """Write the bundle of the model in `run`, aside and renamed.

    Raises OptionsError where `out` exists, CheckpointError where the model is damaged, lacks its
    encoder, or disagrees with PyTorch.
    """
    if out.exists():
        raise OptionsError(f"--out {out} exists; name a new folder")
    checkpoint = Checkpoint.load(run)
    identity = checkpoint.encoder
    if identity.imported:
        raise CheckpointError(
            f"{run} was trained on imported features, so no encoder can go with it; other "
            "machines can use a copy of the folder"
        )
    encoder = checkpoint.load_encoder(encoder_file)
    parts = list(encoder.parts) if isinstance(encoder, JoinedEncoder) else [encoder]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, suffix=".mrnn-new") as aside:
        folder = Path(aside, "bundle")
        (folder / ENCODERS).mkdir(parents=True)
        for name in (CONFIG, VOCABULARY, WEIGHTS, HEADS, MODEL_CARD, *GRAPHS):
            if (run / name).exists():
                shutil.copyfile(run / name, folder / name)
        for part in parts:
            shutil.copyfile(part.file, folder / ENCODERS / encoder_file_name(part.identity.name))
        write_manifest(folder, __version__)
        report = _compare(Captioner.load(folder), parts, _megabytes(folder))
        folder.rename(out)
    return report


def fixed_photos() -> list[Image.Image]:
    """Photos of coloured waves, the same on every machine."""
    across, down = np.meshgrid(np.linspace(0, 1, SIDES[0]), np.linspace(0, 1, SIDES[1]))
    photos = []
    for number in range(1, PHOTOS + 1):
        waves = [np.sin(number * (2 + c) * across + (5 - c) * number * down) for c in range(3)]
        pixels = 127.5 + 127.5 * np.stack(waves, axis=2)
        photos.append(Image.fromarray(pixels.astype(np.uint8)))
    return photos


def _compare(captioner: Captioner, parts: list[OnnxEncoder], megabytes: float) -> BundleReport:
    """Raises CheckpointError where the exported model and PyTorch's disagree."""
    checkpoint, photos = captioner.checkpoint, fixed_photos()
    difference = max(map(_feature_difference, parts))
    pixels = [captioner.encoder.preprocess(photo) for photo in photos]
    features = np.stack([captioner.encoder.encode(each) for each in pixels])
    trained = _torch_model(checkpoint)
    nats = _largest_difference(checkpoint.network, trained, features)
    if nats > TOLERANCE:
        raise CheckpointError(
            f"{checkpoint.folder}: log-probabilities differ by {nats:.3g} nats from PyTorch's; "
            "train or copy the model again"
        )
    options = DecodingOptions(beam_size=5, max_length=20)
    ours, theirs = (
        [found[0].words for found in decode(model, model.encode_image(features), options)]
        for model in (checkpoint.network, trained)
    )
    if ours != theirs:
        raise CheckpointError(
            f"{checkpoint.folder}: captions differ from PyTorch's; train or copy the model again"
        )
    return BundleReport(megabytes, difference, nats, len(ours))


def _feature_difference(encoder: OnnxEncoder) -> float:
    """From PyTorch; 0 of an encoder without weights at hand, which its export has compared."""
    name = encoder.file.stem
    if name not in {f"{EFFICIENTNET_LITE}{variant}" for variant in WIDTH_DEPTH_SIZE}:
        return 0.0
    difference = difference_from_torch(encoder, load_headless(name))
    if difference > FEATURE_TOLERANCE:
        raise CheckpointError(
            f"{encoder.file}: features differ by {difference:.1%} from PyTorch's; reinstall mrnn"
        )
    return difference


def _torch_model(checkpoint: Checkpoint) -> TorchLanguageModel:
    """The network of a checkpoint in PyTorch."""
    network = network_of(checkpoint.config.model).eval()
    tensors = dequantize(load_file(checkpoint.folder / WEIGHTS))
    names = {name for name, _ in network.named_parameters()}
    weights = {n: torch.from_numpy(array) for n, array in tensors.items() if n in names}
    network.load_state_dict(weights, strict=False)  # a shared tensor has but one name here
    return TorchLanguageModel(network)


def _largest_difference(
    network: Network, trained: TorchLanguageModel, features: Float[np.ndarray, "N F"]
) -> float:
    """In nats, over the words that follow some beginnings."""
    random = np.random.default_rng(0)
    image, state = network.encode_image(features), network.initial_state(len(features))
    other_image, other_state = trained.encode_image(features), state
    largest = 0.0
    for _ in range(8):
        words = random.integers(3, network.config.vocabulary_size, len(features))
        found, state = network.step(words, state, image)
        expected, other_state = trained.step(words, other_state, other_image)
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
