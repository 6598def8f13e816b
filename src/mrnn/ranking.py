"""Rank photos for a sentence and sentences for a photo, by one model that also captions.

Exactly: photos by log P(sentence | photo), sentences by log P(sentence | photo) - log P(sentence),
the latter over sampled training photos. Fast: candidates by the joint space, exact likelihoods of
the best of them alone, and both together decide.

RUN/ranking.safetensors holds the joint space, the sampled photos and how to weigh the two.

Letters: S sentences, N images, F image feature, D joint space, K sampled images.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrnn.checkpoint import Checkpoint
from mrnn.errors import CheckpointError
from mrnn.joint_space import JointSpace
from mrnn.model import Network
from mrnn.scoring import Words, log_likelihoods, log_marginals
from mrnn.whole_files import write_whole

FORMAT = 1
RANKING = "ranking.safetensors"
SAMPLED = "sampled_images"
SCALE = ".scale"
STORED = (torch.int8, torch.float16, torch.float32)
CANDIDATES = 15
"""For how many of a query's candidates the exact likelihood is worked out."""
NEAREST = 10
"""Sampled photos that P(sentence) is taken over where it must be quick."""
IMAGES_AT_ONCE = 512
PAIRS_AT_ONCE = 2_000_000
SOFTNESS, SHARE = 0.05, 0.5
"""Of `Ranker.commonness`: how soft its maximum is, and how much of it counts."""


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
    """`fingerprint` of the model that it was made for."""
    weights: Weights
    parts: int = Field(default=1, ge=1)
    """Of the joint space."""


@dataclass(frozen=True)
class Ranker:
    """All that ranking needs: the model, the joint space, sampled training photos, weights."""

    checkpoint: Checkpoint
    space: JointSpace
    sampled: Float[np.ndarray, "K F"]
    """Features of training photos, over which P(sentence) is taken."""
    weights: Weights

    def save(self, folder: Path) -> None:
        """To a sibling, then renamed; matrices are rounded to a byte a number."""
        tensors = {**self.space.state_dict(), SAMPLED: torch.from_numpy(self.sampled)}
        header = _Header(
            model=fingerprint(self.checkpoint), weights=self.weights, parts=self.space.parts
        )
        packed = save(_packed(tensors), {"header": header.model_dump_json()})
        write_whole(folder / RANKING, packed)

    @classmethod
    def load(cls, folder: Path, checkpoint: Checkpoint) -> "Ranker":
        """Of the model in a run's folder; refuses one that was made for another model."""
        file = folder / RANKING
        mend = f"Run: mrnn train-ranking {folder} --data DATA"
        if not file.exists():
            raise CheckpointError(f"{file} does not exist, so nothing can be ranked. {mend}")
        try:
            with safe_open(file, framework="pt") as opened:
                content = json.loads((opened.metadata() or {}).get("header", "null"))
                packed = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            header = _read_header(content, file, mend)
            if header.model != fingerprint(checkpoint):
                raise CheckpointError(f"{file} was made for another model. {mend}")
            for name, tensor in packed.items():
                if tensor.dtype not in STORED:
                    raise CheckpointError(f"{file}: {name} holds {tensor.dtype}. {mend}")
            tensors = _unpacked(packed)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            line = str(error).splitlines()[0]
            raise CheckpointError(f"{file} cannot be read: {line}. {mend}") from error
        space = _empty_space(tensors, header.parts, checkpoint, file, mend)
        _check_tensors(tensors, space, file, mend)
        sampled = tensors.pop(SAMPLED).numpy()
        space.load_state_dict(tensors)
        return cls(checkpoint, space.eval(), sampled, header.weights)

    @classmethod
    def find(cls, folder: Path, checkpoint: Checkpoint) -> "Ranker | None":
        """As `load`, but None for a model that has not learned to rank."""
        return cls.load(folder, checkpoint) if (folder / RANKING).exists() else None

    @property
    def fingerprint(self) -> str:
        """16 digits that change with whatever changes a vector, a marginal or a weight."""
        digest = hashlib.sha256(self.weights.model_dump_json().encode())
        digest.update(str(self.space.parts).encode())
        tensors = {**self.space.state_dict(), SAMPLED: torch.from_numpy(self.sampled)}
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode() + tensor.half().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def read(self, sentences: Sequence[Words]) -> Float[np.ndarray, "S D"]:
        """Vectors of sentences in the joint space."""
        return self.space.read([[*map(int, sentence)] for sentence in sentences]).numpy()

    @torch.inference_mode()
    def see(self, images: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N D"]:
        """Vectors of photos in the joint space."""
        vectors = np.empty((len(images), self.space.image.out_features), np.float32)
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            vectors[part] = self.space.see(torch.from_numpy(images[part].astype(np.float32)))
        return vectors

    def likeness(
        self, sentences: Sequence[Sequence[Words]], images: Float[np.ndarray, "N F"]
    ) -> list[Float[np.ndarray, " _"]]:
        """For each photo, -1..1: how near its own sentences are to it in the joint space."""
        photos = self.see(images)
        pairs = zip(sentences, photos, strict=True)
        return [(self.read(own) @ photo).astype(np.float64) for own, photo in pairs]

    def near_marginals(
        self,
        sentences: Sequence[Words],
        count: int = NEAREST,
        **options: Any,  # noqa: ANN401
    ) -> Float[np.ndarray, " S"]:
        """Nats of log P(sentence) over the sampled photos, of which the nearest alone count.

        A bound from below, and a near one: P(sentence) is mostly that of the photos that fit best.
        """
        near = best_candidates(self.read(sentences) @ self.see(self.sampled).T, count)
        model = self.checkpoint.model
        return log_marginals(
            log_likelihoods(model, sentences, self.sampled, wanted=near, **options)
        )

    def commonness(self, sentences: Float[np.ndarray, "S D"]) -> Float[np.ndarray, " S"]:
        """How near sentences lie to any photo, by their vectors: the marginal of the joint space.

        What fits every photo a little would else come up for every photo.
        """
        likeness = sentences @ self.see(self.sampled).T / SOFTNESS
        marginals: np.ndarray = SHARE * SOFTNESS * log_marginals(likeness)
        return marginals


def rounded(matrix: Float[Tensor, "R C"]) -> Float[Tensor, "R C"]:
    """To what a file keeps: of each row, whole multiples, -127 to 127, of a power of two."""
    return _unpacked(_packed({"": matrix}))[""]


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A byte a number, and for each row of a matrix their unit; vectors in float16."""
    packed = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            packed[name] = tensor.half()
            continue
        largest = tensor.abs().amax(dim=1, keepdim=True)
        unit = (largest / 127).clamp(min=2.0**-24).log2().ceil().exp2()
        packed[name] = (tensor / unit).round().to(torch.int8)
        packed[name + SCALE] = unit
    return packed


def _unpacked(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor * packed[name + SCALE] if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in packed.items()
        if not name.endswith(SCALE)
    }


def fingerprint(checkpoint: Checkpoint) -> str:
    """16 digits that change with any weight, word or setting of the encoder."""
    digest = hashlib.sha256(checkpoint.encoder.model_dump_json().encode())
    digest.update("\n".join(checkpoint.vocabulary.words).encode())
    for name, tensor in sorted(checkpoint.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.half().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Rankings:
    """Scores of all pairs: the higher, the better the two fit."""

    sentence_to_image: Float[np.ndarray, "S N"]
    image_to_sentence: Float[np.ndarray, "S N"]
    image_to_sentence_without_marginal: Float[np.ndarray, "S N"]


def rank_exactly(
    model: Network,
    sentences: Sequence[Words],
    images: Float[np.ndarray, "N F"],
    marginals: Float[np.ndarray, " S"],
    precision: torch.dtype = torch.float32,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> Rankings:
    """As the paper does, by the likelihood of every pair."""
    scores = log_likelihoods(model, sentences, images, precision=precision, on_pairs=on_pairs)
    return Rankings(scores, scores - marginals[:, None], scores)


def rank_fast(
    ranker: Ranker,
    sentences: Sequence[Words],
    images: Float[np.ndarray, "N F"],
    marginals: Float[np.ndarray, " S"],
    precision: torch.dtype = torch.float32,
    on_pairs: Callable[[int], None] = lambda _: None,
    candidates: int = CANDIDATES,
) -> Rankings:
    """By the joint space, and the best `candidates` of each query by the likelihood too.

    Of memory it takes, beside its arguments, seven matrices of the size of a result at most and
    what `log_likelihoods` takes.
    """
    vectors = ranker.read(sentences)
    likeness = vectors @ ranker.see(images).T
    common = ranker.commonness(vectors)
    for_sentence, for_image = best_candidates(likeness, candidates), np.empty(likeness.shape, bool)
    for part in _parts(len(images), len(sentences)):
        for_image[:, part] = best_candidates(likeness[:, part].T - common, candidates).T
    scores = log_likelihoods(
        ranker.checkpoint.model,
        sentences,
        images,
        wanted=for_sentence | for_image,
        precision=precision,
        on_pairs=on_pairs,
    )
    to_image, to_sentence, plain = (np.empty_like(scores) for _ in range(3))
    weight = ranker.weights.sentence_to_image
    for part in _parts(*likeness.shape):
        near = likeness[part]
        to_image[part] = first_by_score(for_sentence[part], weight * near + scores[part], near)
    weight = ranker.weights.image_to_sentence
    for part in _parts(len(images), len(sentences)):
        chosen, near, score = for_image[:, part].T, likeness[:, part].T, scores[:, part].T
        distinct = near - common
        both = weight * distinct + score - marginals
        to_sentence[:, part] = first_by_score(chosen, both, distinct).T
        plain[:, part] = first_by_score(chosen, weight * near + score, near).T
    return Rankings(to_image, to_sentence, plain)


def best_candidates(likeness: Float[np.ndarray, "Q C"], count: int) -> Bool[np.ndarray, "Q C"]:
    """Which candidates are a query's best, equal ones by index."""
    queries, size = likeness.shape
    best = np.ones(likeness.shape, dtype=bool)
    if count >= size:
        return best
    for part in _parts(queries, size):
        block = likeness[part]
        edge = np.partition(block, size - count, axis=1)[:, size - count, None]
        above, equal = block > edge, block == edge
        left = count - above.sum(axis=1, keepdims=True)
        best[part] = above | (equal & (equal.cumsum(axis=1) <= left))
    return best


def first_by_score(
    chosen: Bool[np.ndarray, "Q C"],
    scores: Float[np.ndarray, "Q C"],
    likeness: Float[np.ndarray, "Q C"],
) -> Float[np.ndarray, "Q C"]:
    """The scores of the chosen candidates; below them the others, by likeness alone."""
    least = scores.min(axis=1, keepdims=True, where=chosen, initial=np.inf)
    return np.where(chosen, scores, least - 3 + likeness)


def _parts(queries: int, candidates: int) -> Iterator[slice]:
    """Of the queries, so many at a time that their pairs take little memory."""
    size = max(1, PAIRS_AT_ONCE // max(1, candidates))
    return (slice(start, start + size) for start in range(0, queries, size))


def _read_header(content: Any, file: Path, mend: str) -> _Header:  # noqa: ANN401
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{file} has format {found!r}; this version reads {FORMAT}. Upgrade mrnn, or: {mend}"
        )
    try:
        return _Header.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{file}: {place}: {first['msg']}. {mend}") from error


def _empty_space(
    tensors: Mapping[str, Tensor], parts: int, checkpoint: Checkpoint, file: Path, mend: str
) -> JointSpace:
    width = tensors["image.bias"].numel() if "image.bias" in tensors else parts
    if not width or width % parts:
        raise CheckpointError(f"{file}: {parts} parts cannot share {width} dimensions. {mend}")
    config = checkpoint.model.config
    return JointSpace(config.vocabulary_size, config.image_size, width // parts, parts)


def _check_tensors(tensors: Mapping[str, Tensor], space: JointSpace, file: Path, mend: str) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in space.state_dict().items()}
    count = len(tensors[SAMPLED]) if SAMPLED in tensors else 0
    expected[SAMPLED] = (max(1, count), space.image.in_features)
    for name in sorted(expected.keys() | tensors.keys()):
        shape = tuple(tensors[name].shape) if name in tensors else None
        if shape != expected.get(name):
            raise CheckpointError(
                f"{file}: {name} has shape {shape}, not {expected.get(name)}. {mend}"
            )
        if not torch.isfinite(tensors[name]).all():
            raise CheckpointError(f"{file}: {name} holds values that are not finite. {mend}")
