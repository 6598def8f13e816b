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
from dataclasses import dataclass, replace
from functools import cached_property
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
    """A trained model."""

    folder: Path
    config: CheckpointConfig
    network: Network
    vocabulary: Vocabulary
    familiarity: Familiarity
    fingerprint: str
    """16 hexadecimal digits of a hash of weights, vocabulary and encoder identity."""
    device: str = "cpu"
    """Where network and encoder run; see `mrnn.model.devices`."""

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "Checkpoint":
        """Raises CheckpointError for files that are missing, damaged or of another model.

        Raises OptionsError for a device that is not there.
        """
        config = _read_config(folder)
        check_manifest(folder)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
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
        network = Network(folder, config.model, device)
        try:
            check_forms(read_header(folder / WEIGHTS).forms, tensor_forms(config.model))
            network.check(config.graphs)
            tensors, content = _read_tensors(folder / WEIGHTS)
            familiarity = _familiarity_of(tensors, config)
        except ValueError as error:
            raise CheckpointError(f"{folder / WEIGHTS}{error}; {MEND}") from None
        fingerprint = _fingerprint(config.encoder, vocabulary, content)
        return cls(folder, config, network, vocabulary, familiarity, fingerprint, device)

    @property
    def encoder(self) -> EncoderIdentity:
        """The identity of the encoder whose features the network takes."""
        return self.config.encoder

    @cached_property
    def tagger(self) -> Tagger | None:
        """Gives photos tags by the classes of the encoder; None if it has none.

        The files of classes are those of the bundle, or of the package. Raises CheckpointError.
        """
        folder = self.folder / ENCODERS
        return Tagger.for_encoder(self.encoder, folder if folder.is_dir() else None)

    def load_encoder(self, file: Path | None = None) -> OnnxEncoder | JoinedEncoder:
        """The image encoder: from `file`, from the folder of a bundle, or one that ships.

        Raises CheckpointError for another encoder, and if there is none.
        """
        folder = self.folder / ENCODERS
        encoder = load_encoder(
            self.encoder.name,
            str(self.encoder.resize_mode),
            file,
            folder if folder.is_dir() else None,
            self.device,
        )
        if difference := self.encoder.difference(encoder.identity):
            raise CheckpointError(
                f"This encoder is not the one that the model was trained with ({difference}); give "
                "the file of that one by --encoder-file FILE"
            )
        return encoder

    @cached_property
    def heads(self) -> Heads | None:
        """Joint embedding, CIDEr predictor and the rest; None for a model without."""
        if not (self.folder / HEADS).exists():
            return None
        return Heads.load(self.folder, self.config.model, self.fingerprint)

    def with_heads(self, heads: Heads) -> "Checkpoint":
        """The same model with heads that are not in its folder."""
        other = replace(self)
        other.__dict__["heads"] = heads  # where a cached property keeps what it found
        return other


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


def _read_tensors(file: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """All tensors, and the bytes of the file. Raises ValueError."""
    try:
        content = file.read_bytes()
        tensors = load(content)
    except (OSError, MemoryError, SafetensorError) as error:
        raise ValueError(f" cannot be read: {' '.join(str(error).split())[:100]}") from None
    check_values(tensors)
    return tensors, content


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
