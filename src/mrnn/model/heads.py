"""RUN/ranking.safetensors: all that a model needs, beside itself, to judge what fits a photo.

The tensors are the joint space's, the sampled photos and, after `expected_cider.`, those of the
CIDEr to expect; the metadata say for which model, and how the parts are weighed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrnn.errors import CheckpointError
from mrnn.files import first_problem, write_whole
from mrnn.metrics.ngrams import LONGEST
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.cider_predictor import NOTHING, ExpectedCider
from mrnn.model.joint_embedding import JointSpace
from mrnn.model.quantization import packed, unpacked

FORMAT = 4
RANKING = "ranking.safetensors"
SAMPLED = "sampled_images"
EXPECTED = "expected_cider."
STORED = (torch.int8, torch.int32, torch.float16, torch.float32)


class Weights(BaseModel):
    """What a unit of likeness in the joint space is worth in nats of log-likelihood."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentence_to_image: FiniteFloat
    image_to_sentence: FiniteFloat


class _Header(BaseModel):
    """What the file says beside its tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    model: str
    """The fingerprint of the model that it was made for."""
    weights: Weights
    parts: int = Field(default=1, ge=1)
    """Of the joint space."""


@dataclass(frozen=True)
class RankingParts:
    """What the file holds."""

    space: JointSpace
    sampled: Float[np.ndarray, "K F"]
    weights: Weights
    expected: ExpectedCider


def write_ranking(folder: Path, checkpoint: Checkpoint, parts: RankingParts) -> None:
    """To a sibling, then renamed; matrices are rounded to a byte a number."""
    tensors = {**parts.space.state_dict(), SAMPLED: torch.from_numpy(parts.sampled)}
    tensors |= {EXPECTED + name: tensor for name, tensor in parts.expected.tensors.items()}
    header = _Header(model=checkpoint.fingerprint, weights=parts.weights, parts=parts.space.parts)
    content = save(packed(tensors), {"header": header.model_dump_json()})
    write_whole(folder / RANKING, content)


def read_ranking(folder: Path, checkpoint: Checkpoint) -> RankingParts:
    """Strictly: a wrong tensor or another model is refused, and the error says what mends it."""
    file = folder / RANKING

    def refuse(problem: object) -> NoReturn:
        raise CheckpointError(
            f"{file}{problem}. Run: mrnn train-ranking {folder} --data DATA; without that file the "
            "model captions by likelihood alone"
        )

    if not file.exists():
        refuse(" does not exist, so nothing can be ranked")
    try:
        with safe_open(file, framework="pt") as opened:
            content = json.loads((opened.metadata() or {}).get("header", "null"))
            header = _header_of(content, checkpoint.fingerprint)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return _parts_of(tensors, header, checkpoint)
    except _UnfitError as error:
        refuse(error)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        refuse(f" cannot be read: {str(error).splitlines()[0]}")


class _UnfitError(Exception):
    """What is wrong with the file, as the rest of a line that begins with its name."""


def _header_of(content: Any, model: str) -> _Header:  # noqa: ANN401
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise _UnfitError(
            f" has format {found!r}; this version reads {FORMAT}, so upgrade mrnn if it is newer"
        )
    try:
        header = _Header.model_validate(content)
    except ValidationError as error:
        raise _UnfitError(f": {first_problem(error)}") from error
    if header.model != model:
        raise _UnfitError(" was made for another model")
    return header


def _parts_of(
    stored: Mapping[str, Tensor], header: _Header, checkpoint: Checkpoint
) -> RankingParts:
    for name, tensor in stored.items():
        if tensor.dtype not in STORED:
            raise _UnfitError(f": {name} holds {tensor.dtype}")
    tensors = unpacked(stored)
    space = _empty_space(tensors, header.parts, checkpoint)
    _check(tensors, _shapes(tensors, space))
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(EXPECTED)}
    sampled = own.pop(SAMPLED).numpy()
    space.load_state_dict(own)
    expected = {
        name.removeprefix(EXPECTED): tensor
        for name, tensor in tensors.items()
        if name.startswith(EXPECTED)
    }
    spelling = expected["spelling"]
    if spelling.dtype != torch.int32 or (spelling < NOTHING).any():
        raise _UnfitError(f": {EXPECTED}spelling holds no ids of words")
    return RankingParts(space.eval(), sampled, header.weights, ExpectedCider(**expected))


def _empty_space(tensors: Mapping[str, Tensor], parts: int, checkpoint: Checkpoint) -> JointSpace:
    width = tensors["image.bias"].numel() if "image.bias" in tensors else parts
    if not width or width % parts:
        raise _UnfitError(f": {parts} parts cannot share {width} dimensions")
    config = checkpoint.model.config
    return JointSpace(config.vocabulary_size, config.image_size, width // parts, parts)


def _shapes(tensors: Mapping[str, Tensor], space: JointSpace) -> dict[str, tuple[int, ...]]:
    """That the tensors should have, given how many photos, n-grams and directions there are."""

    def count(name: str, axis: int = 0) -> int:
        tensor = tensors.get(name)
        return 1 if tensor is None or tensor.ndim <= axis else max(1, tensor.shape[axis])

    features = space.image.in_features
    ngrams, directions = (count(EXPECTED + "ngram", axis) for axis in (0, 1))
    expected = {
        "spelling": (ngrams, LONGEST), "rarity": (ngrams,), "rarest": (1,), "mean": (ngrams,),
        "ngram": (ngrams, directions), "image": (directions, features), "centre": (features,),
        "length": (count(EXPECTED + "length"),),
    }  # fmt: skip
    return {
        **{name: tuple(tensor.shape) for name, tensor in space.state_dict().items()},
        SAMPLED: (count(SAMPLED), features),
        **{EXPECTED + name: shape for name, shape in expected.items()},
    }


def _check(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted(shapes.keys() | tensors.keys()):
        if name not in tensors:
            raise _UnfitError(f" lacks the tensor {name}")
        if name not in shapes:
            raise _UnfitError(f" has an unknown tensor {name}")
        if (shape := tuple(tensors[name].shape)) != shapes[name]:
            raise _UnfitError(f": {name} has shape {shape}, not {shapes[name]}")
        if not torch.isfinite(tensors[name]).all():
            raise _UnfitError(f": {name} holds values that are not finite")
