"""RUN/, the folder of a trained model. The model needs no other file.

config.json         sizes, the encoder's identity, options of decoding and of reranking
vocabulary.txt      a word a line
model.safetensors   weights of the network, most of them int8, and statistics for familiarity
*.onnx              the network's graphs, a few kB, which refer to these weights
heads.safetensors   joint embedding and CIDEr predictor, of a model that has heads
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_form
from mrnn.model.config import CheckpointConfig, EncoderIdentity, ModelConfig
from mrnn.model.familiarity import Familiarity
from mrnn.model.heads import HEADS, Heads
from mrnn.model.image_encoder import JoinedEncoder, OnnxEncoder, load_encoder
from mrnn.model.manifest import check_manifest
from mrnn.model.network import MEND, WEIGHTS, Network, weight_shapes
from mrnn.model.quantization import quantize
from mrnn.model.tags import Tagger
from mrnn.model.tensor_file import (
    TensorForm,
    check_forms,
    check_values,
    read_header,
    stored_as,
)
from mrnn.outputs import write_whole
from mrnn.tokenizer import Vocabulary

FORMAT = 5
CONFIG, VOCABULARY = "config.json", "vocabulary.txt"
MEAN, DIRECTIONS = "familiarity.mean", "familiarity.directions"
ELMAN = re.compile(r"recurrence\.(layers\.\d+\.)?weight")
"""The names of U, the recurrent weights of Elman layers."""
ROUNDING = 0.05
"""By which the length of a direction of familiarity may differ from 1."""
ENCODERS = "encoders"
"""The folder of a bundle that holds its encoder's files."""
DEFAULT_MODEL = Path(__file__).parents[1] / "models" / "flickr8k"
"""The model that ships in the package."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model. What happens to its folder once it is loaded does not matter."""

    folder: Path
    config: CheckpointConfig
    network: Network
    vocabulary: Vocabulary
    familiarity: Familiarity
    fingerprint: str
    """16 hexadecimal digits of a hash of weights, vocabulary and encoder identity."""
    device: str = "cpu"
    """Where network and encoder run; see `mrnn.model.devices`."""
    heads: Heads | None = None
    """Joint embedding, CIDEr predictor and the rest; None for a model without."""
    tagger: Tagger | None = None
    """Gives photos tags by the classes of the encoder; None if it has none."""

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", *, heads: bool = True) -> "Checkpoint":
        """Raises CheckpointError for files that are missing, damaged or of another model.

        Raises OptionsError for a device that is not there. To train heads, load the model without
        those that it has: they may be damaged, or of another model.
        """
        config = _read_config(folder)
        check_manifest(folder)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        _check_sizes(folder, config, vocabulary)
        try:
            check_forms(read_header(folder / WEIGHTS).forms, tensor_forms(config.model))
            content = _read(folder / WEIGHTS)
            familiarity = _familiarity_of(_tensors_of(content), config)
        except ValueError as error:
            raise CheckpointError(f"{folder / WEIGHTS}{error}; {MEND}") from None
        network = Network(folder, config.model, content, device)
        network.read_graphs(config.graphs)
        fingerprint = _fingerprint(config.encoder, vocabulary, content)
        has_heads = heads and (folder / HEADS).exists()
        return cls(
            folder, config, network, vocabulary, familiarity, fingerprint, device,
            Heads.load(folder, config.model, fingerprint) if has_heads else None,
            Tagger.for_encoder(config.encoder, _encoder_folder(folder)),
        )  # fmt: skip

    @property
    def encoder(self) -> EncoderIdentity:
        """The identity of the encoder whose features the network takes."""
        return self.config.encoder

    def load_encoder(self, file: Path | None = None) -> OnnxEncoder | JoinedEncoder:
        """The image encoder: from `file`, from the folder of a bundle, or one that ships.

        Raises CheckpointError for another encoder, and if there is none.
        """
        if self.encoder.imported:
            raise self.without_encoder()
        encoder = load_encoder(
            self.encoder.name,
            str(self.encoder.resize_mode),
            file,
            _encoder_folder(self.folder),
            self.device,
        )
        if difference := self.encoder.difference(encoder.identity):
            raise CheckpointError(
                f"This encoder is not the one that the model was trained with ({difference}); give "
                "the file of that one by --encoder-file FILE"
            )
        return encoder

    def without_encoder(self) -> CheckpointError:
        """What to raise where a photo needs the encoder."""
        return CheckpointError(
            f"There is no encoder for photos: the model takes features of {self.encoder}. With "
            "those it can be measured, by mrnn evaluate"
        )


def save_weights(file: Path, weights: Mapping[str, np.ndarray], familiarity: Familiarity) -> None:
    """Write model.safetensors: the weights, and the statistics for familiarity.

    Matrices are int8, but an Elman layer's U is float16: its diagonal is near 1, and beside that a
    row's other weights would be rounded to 0.
    """
    halves = {name: array for name, array in weights.items() if ELMAN.fullmatch(name)}
    matrices = {name: array for name, array in weights.items() if name not in halves}
    halves |= {MEAN: familiarity.mean, DIRECTIONS: familiarity.directions}
    rounded = {name: array.astype(np.float16) for name, array in halves.items()}
    write_whole(file, save(quantize(matrices) | rounded))


def tensor_forms(config: ModelConfig) -> dict[str, TensorForm]:
    """What model.safetensors holds for a network."""
    forms = {
        MEAN: TensorForm("F16", (config.image_size,)),
        DIRECTIONS: TensorForm("F16", (None, config.image_size)),
    }
    for name, shape in weight_shapes(config).items():
        is_half = ELMAN.fullmatch(name)
        forms |= {name: TensorForm("F16", shape)} if is_half else stored_as(shape, name)
    return forms


def _encoder_folder(run: Path) -> Path | None:
    """Where a bundle has the files of its encoder; None for those of the package."""
    folder = run / ENCODERS
    return folder if folder.is_dir() else None


def _read_config(folder: Path) -> CheckpointConfig:
    file = folder / CONFIG
    if folder.is_dir() and not file.exists():
        raise CheckpointError(
            f"{folder} is not a trained model: it has no {CONFIG}. "
            "Give the folder that `mrnn train --out` wrote"
        )
    try:
        return read_form(file, CheckpointConfig, FORMAT, MEND, "train the model again")
    except DataError as error:
        raise CheckpointError(error) from None


def _check_sizes(folder: Path, config: CheckpointConfig, vocabulary: Vocabulary) -> None:
    """Raises CheckpointError."""
    if len(vocabulary) != config.model.vocabulary_size:
        raise CheckpointError(
            f"{folder / VOCABULARY} holds {len(vocabulary)} words and special tokens, but "
            f"{folder / CONFIG} says {config.model.vocabulary_size}; {MEND}"
        )
    if config.model.image_size != config.encoder.feature_size:
        raise CheckpointError(
            f"{folder / CONFIG}: the model takes features of {config.model.image_size} values, "
            f"but its encoder makes {config.encoder.feature_size}; {MEND}"
        )


def _read(file: Path) -> bytes:
    """Raises ValueError."""
    try:
        return file.read_bytes()
    except (OSError, MemoryError) as error:
        raise ValueError(_unreadable(error)) from None


def _tensors_of(content: bytes) -> dict[str, np.ndarray]:
    """All tensors. Raises ValueError."""
    try:
        tensors = load(content)
    except (MemoryError, SafetensorError) as error:
        raise ValueError(_unreadable(error)) from None
    check_values(tensors)
    return tensors


def _unreadable(error: Exception) -> str:
    return f" cannot be read: {' '.join(str(error).split())[:100]}"


def _familiarity_of(tensors: dict[str, np.ndarray], config: CheckpointConfig) -> Familiarity:
    """Raises ValueError for directions that are not of unit length."""
    directions = tensors[DIRECTIONS].astype(np.float32)
    lengths = np.sqrt(np.square(directions).sum(axis=1))
    if (np.abs(lengths - 1) > ROUNDING).any():
        raise ValueError(f": {DIRECTIONS} holds rows that are not of unit length")
    return Familiarity(
        tensors[MEAN].astype(np.float32),
        directions,
        config.familiarity_median,
        config.familiarity_edge,
    )


def _fingerprint(encoder: EncoderIdentity, vocabulary: Vocabulary, content: bytes) -> str:
    digest = hashlib.sha256(encoder.model_dump_json().encode())
    digest.update("\n".join(vocabulary.words).encode())
    digest.update(content)
    return digest.hexdigest()[:16]
