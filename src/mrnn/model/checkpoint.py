"""RUN/, the folder of a trained model. The model needs no other file.

config.json         sizes, the encoder's identity, options of decoding and of reranking
vocabulary.txt      a word a line
model.safetensors   weights of the network, most of them int8, and statistics for familiarity
*.onnx              the network's graphs, a few kB, which refer to these weights
heads.safetensors   joint embedding and CIDEr predictor, of a model that has heads
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mrnn.errors import CheckpointError
from mrnn.files import first_problem
from mrnn.model.config import CheckpointConfig, EncoderIdentity
from mrnn.model.familiarity import Familiarity
from mrnn.model.heads import HEADS, Heads
from mrnn.model.image_encoder import JoinedEncoder, OnnxEncoder, load_encoder
from mrnn.model.manifest import check_manifest
from mrnn.model.network import MEND, WEIGHTS, Network
from mrnn.model.quantization import quantize
from mrnn.model.tags import Tagger
from mrnn.outputs import write_whole
from mrnn.tokenizer import Vocabulary

FORMAT = 4
CONFIG, VOCABULARY = "config.json", "vocabulary.txt"
MEAN, DIRECTIONS = "familiarity.mean", "familiarity.directions"
ELMAN = re.compile(r"recurrence\.(layers\.\d+\.)?weight")
"""The names of U, the recurrent weights of Elman layers."""
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

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Raises CheckpointError for files that are missing, damaged or of another model."""
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
        tensors, content = _read_tensors(folder / WEIGHTS)
        familiarity = _familiarity_of(tensors, config, folder / WEIGHTS)
        _check_finite(tensors, folder / WEIGHTS)
        network = Network(folder, config.model)
        network.check()
        fingerprint = _fingerprint(config.encoder, vocabulary, content)
        return cls(folder, config, network, vocabulary, familiarity, fingerprint)

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


def _read_config(folder: Path) -> CheckpointConfig:
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a trained model: it has no {CONFIG}. "
            "Give the folder that `mrnn train --out` wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        problem = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{file} cannot be read: {problem}; {MEND}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise CheckpointError(
            f"{file} has format {found!r:.40}; this version reads {FORMAT}. "
            "Upgrade mrnn, or train the model again"
        )
    try:
        return CheckpointConfig.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(f"{file}: {first_problem(error)}; {MEND}") from error


def _read_tensors(file: Path) -> tuple[dict[str, np.ndarray], bytes]:
    try:
        content = file.read_bytes()
        return load(content), content
    except KeyError as error:
        problem = f"it holds numbers of type {error}"
    except OSError as error:
        problem = str(error.strerror)
    except (ValueError, SafetensorError) as error:
        problem = " ".join(str(error).split())[:100]
    raise CheckpointError(f"{file} cannot be read: {problem}; {MEND}")


def _familiarity_of(
    tensors: dict[str, np.ndarray], config: CheckpointConfig, file: Path
) -> Familiarity:
    size = config.model.image_size
    for name, shape in ((MEAN, (size,)), (DIRECTIONS, (None, size))):
        tensor = tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{file} lacks the tensor {name}; {MEND}")
        fits = tensor.ndim == len(shape) and tensor.shape[-1] == size
        if not fits or tensor.dtype != np.float16:
            raise CheckpointError(
                f"{file}: {name} is {tensor.dtype} of shape {tensor.shape}, which does not fit "
                f"{CONFIG}; {MEND}"
            )
    return Familiarity(
        tensors[MEAN].astype(np.float32),
        tensors[DIRECTIONS].astype(np.float32),
        config.familiarity_median,
        config.familiarity_edge,
    )


def _check_finite(tensors: Mapping[str, np.ndarray], file: Path) -> None:
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise CheckpointError(f"{file}: {name!r:.60} holds values that are not finite; {MEND}")


def _fingerprint(encoder: EncoderIdentity, vocabulary: Vocabulary, content: bytes) -> str:
    digest = hashlib.sha256(encoder.model_dump_json().encode())
    digest.update("\n".join(vocabulary.words).encode())
    digest.update(content)
    return digest.hexdigest()[:16]
