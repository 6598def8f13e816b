"""The checkpoint folder: everything that a trained model needs, and nothing else is needed.

RUN/config.json holds sizes, the encoder's identity and decoding defaults; model.safetensors the
weights (a byte a number) and the statistics of familiarity; vocabulary.txt the words.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrnn.errors import CheckpointError
from mrnn.files import first_problem, write_whole
from mrnn.model.config import DecodingOptions, EncoderIdentity, ModelConfig
from mrnn.model.familiarity import STORED, Familiarity
from mrnn.model.quantization import packed, unpacked
from mrnn.tokenizer import Vocabulary
from mrnn.training.network import Network, network_of

FORMAT = 3
CONFIG, WEIGHTS, VOCABULARY = "config.json", "model.safetensors", "vocabulary.txt"
MEAN, DIRECTIONS = "familiarity.mean", "familiarity.directions"
DEFAULT_MODEL = Path(__file__).parents[1] / "models" / "flickr8k"
"""The model that ships in the package."""


class CheckpointConfig(BaseModel):
    """What config.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    recipe: str
    """The name of the recipe that trained it."""
    model: ModelConfig
    encoder: EncoderIdentity
    decoding: DecodingOptions
    familiarity_middle: float
    familiarity_edge: float


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with its vocabulary and the identity of its encoder."""

    recipe: str
    model: Network
    vocabulary: Vocabulary
    encoder: EncoderIdentity
    decoding: DecodingOptions
    familiarity: Familiarity

    def save(self, folder: Path) -> None:
        """Each file is written to a sibling, then renamed; the weights come last."""
        folder.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(folder / VOCABULARY)
        config = CheckpointConfig(
            recipe=self.recipe,
            model=self.model.config,
            encoder=self.encoder,
            decoding=self.decoding,
            familiarity_middle=self.familiarity.middle,
            familiarity_edge=self.familiarity.edge,
        )
        write_whole(folder / CONFIG, config.model_dump_json(indent=2) + "\n")
        weights = {name: weight.detach() for name, weight in self.model.named_parameters()}
        statistics = {MEAN: self.familiarity.mean, DIRECTIONS: self.familiarity.directions}
        tensors = packed(weights) | {
            name: tensor.to(STORED).contiguous() for name, tensor in statistics.items()
        }
        write_whole(folder / WEIGHTS, save(tensors))

    @property
    def fingerprint(self) -> str:
        """16 digits that change with any weight as kept, any word or setting of the encoder."""
        digest = hashlib.sha256(self.encoder.model_dump_json().encode())
        digest.update("\n".join(self.vocabulary.words).encode())
        for name, tensor in sorted(packed(self.model.state_dict()).items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Strictly: a missing, extra or misshapen tensor is refused, as is a newer format."""
        config = _load_config(folder)
        vocabulary = Vocabulary.load(folder / VOCABULARY)
        if len(vocabulary) != config.model.vocabulary_size:
            raise CheckpointError(
                f"{folder / VOCABULARY} holds {len(vocabulary)} words and signs, but "
                f"{folder / CONFIG} says {config.model.vocabulary_size}; take both from one run"
            )
        if config.model.image_size != config.encoder.feature_size:
            raise CheckpointError(
                f"{folder / CONFIG}: the model takes features of {config.model.image_size} values, "
                f"but its encoder makes {config.encoder.feature_size}; take both from one run"
            )
        tensors = _load_tensors(folder / WEIGHTS)
        model = network_of(config.model)
        _check_tensors(model, tensors, folder / WEIGHTS)
        familiarity = Familiarity(
            tensors.pop(MEAN),
            tensors.pop(DIRECTIONS),
            config.familiarity_middle,
            config.familiarity_edge,
        )
        model.load_state_dict(tensors, strict=False)  # a shared tensor has but one name here
        return cls(
            config.recipe, model.eval(), vocabulary, config.encoder, config.decoding, familiarity
        )


def _load_config(folder: Path) -> CheckpointConfig:
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a trained model: it has no {CONFIG}. "
            "Give the folder that `mrnn train --out` wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{file} has format {found!r}; this version reads {FORMAT}. "
            "Upgrade mrnn, or train the model again"
        )
    try:
        return CheckpointConfig.model_validate(content)
    except ValidationError as error:
        raise CheckpointError(f"{file}: {first_problem(error)}") from error


def _load_tensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as opened:
            stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return unpacked(stored)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[0]
        raise CheckpointError(f"{file} cannot be read: {line}; copy the model again") from error


def _check_tensors(model: Network, tensors: dict[str, Tensor], file: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    features = model.config.image_size
    count = tensors[DIRECTIONS].shape[:1] if DIRECTIONS in tensors else ()
    expected |= {MEAN: (features,), DIRECTIONS: (*count, features)}
    for name in sorted(expected.keys() - tensors.keys()):
        raise CheckpointError(f"{file} lacks the tensor {name}; the file is not of this model")
    for name in sorted(tensors.keys() - expected.keys()):
        raise CheckpointError(f"{file} has an unknown tensor {name}; the file is not of this model")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"{file}: {name} has shape {tuple(tensor.shape)}, "
                f"but {CONFIG} asks for {expected[name]}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{file}: {name} holds values that are not finite")
