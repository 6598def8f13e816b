"""RUN/heads.safetensors: the retrieval and reranking heads of a trained model.

The joint embedding finds candidates, which are ordered by similarity and the network's likelihood.
All but the sampled features rerank captions. Heads are trained after the network.

Letters: S sentences, N images, F image feature, D joint embedding, K sampled images.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors.numpy import save

from mrnn.errors import CheckpointError, DataError
from mrnn.files import first_problem, parse_json
from mrnn.metrics.ngrams import LONGEST
from mrnn.model.cider_predictor import PADDING, CiderPredictor
from mrnn.model.confidence import Confidence, Signals
from mrnn.model.config import ModelConfig
from mrnn.model.joint_embedding import JointEmbedding, TokenIds
from mrnn.model.quantization import dequantize, quantize
from mrnn.model.tensor_file import (
    TensorForm,
    check_forms,
    read_header,
    read_tensors,
    stored_as,
)
from mrnn.model.thing_predictor import NOTHING, ThingPredictor
from mrnn.outputs import write_whole
from mrnn.shapes import Float, Float32, Float64, Int

FORMAT = 1
HEADS = "heads.safetensors"
JOINT, SAMPLED, CIDER = "joint_embedding.", "sampled_features", "cider_predictor."
THINGS, CONFIDENCE = "thing_predictor.", "confidence."
INTEGERS = (CIDER + "token_ids", THINGS + "phrase_ids", THINGS + "phrase_thing")
HUBNESS_TEMPERATURE, HUBNESS_WEIGHT = 0.05, 0.5
"""Temperature of the soft maximum in `Heads.hubness_correction`, and its weight."""


class RetrievalWeights(BaseModel):
    """Weights of the cosine similarity beside the log-likelihood, in nats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentence_to_image: FiniteFloat
    image_to_sentence: FiniteFloat


class _Header(BaseModel):
    """The metadata of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    model: str
    """The fingerprint of the model that the heads were trained for."""
    weights: RetrievalWeights
    parts: int = Field(default=1, ge=1)
    """Of the joint embedding."""


@dataclass(frozen=True)
class Heads:
    """Retrieval and reranking heads of one model."""

    joint_embedding: JointEmbedding
    sampled_features: Float32[np.ndarray, "K F"]
    """Features of training photos, over which P(sentence) is taken."""
    weights: RetrievalWeights
    cider_predictor: CiderPredictor
    thing_predictor: ThingPredictor | None = None
    """None where the captions of train name no thing often enough."""
    confidence: Confidence | None = None
    """None where training held out no photos to fit it on."""

    def embed_text(self, sentences: Sequence[TokenIds]) -> Float32[np.ndarray, "S D"]:
        """Of sentences, in the joint embedding."""
        return self.joint_embedding.embed_text(sentences)

    def embed_image(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N D"]:
        """Of photos, in the joint embedding."""
        return self.joint_embedding.embed_image(features)

    def similarity(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " _"]]:
        """The cosine, -1..1, of each photo with its own sentences."""
        pairs = zip(sentences, self.embed_image(features), strict=True)
        return [(self.embed_text(own) @ photo).astype(np.float64) for own, photo in pairs]

    def predicted_cider(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " _"]]:
        """The predicted CIDEr-D, near 0..10, of each photo's own sentences."""
        return self.cider_predictor.score(sentences, features)

    def expected_inventions(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " _"]]:
        """How many things each photo's own sentences name that people would not; 0 if unknown."""
        if self.thing_predictor is None:
            return [np.zeros(len(own)) for own in sentences]
        return self.thing_predictor.expected_inventions(sentences, features)

    def thing_support(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " _"]]:
        """How far the things that each photo's own sentences name are likely; 0 if unknown."""
        if self.thing_predictor is None:
            return [np.zeros(len(own)) for own in sentences]
        return self.thing_predictor.support(sentences, features)

    def hubness_correction(self, vectors: Float[np.ndarray, "S D"]) -> Float32[np.ndarray, " S"]:
        """The hubness correction: to be subtracted from the similarity of embedded sentences.

        Without it, sentences that are near all photos (hubs) are found for every photo. It is a
        soft maximum of the similarities with the sampled photos.
        """
        logits = (vectors @ self._sampled.T).astype(np.float64) / HUBNESS_TEMPERATURE
        largest = logits.max(axis=1, keepdims=True)
        mean = np.exp(logits - largest).mean(axis=1)
        soft = HUBNESS_TEMPERATURE * (largest[:, 0] + np.log(mean))
        return np.asarray(HUBNESS_WEIGHT * soft, dtype=np.float32)

    @cached_property
    def _sampled(self) -> Float32[np.ndarray, "K D"]:
        return self.embed_image(self.sampled_features)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of a hash of all that retrieval uses; kept in indexes."""
        digest = hashlib.sha256(self.weights.model_dump_json().encode())
        digest.update(str(self.joint_embedding.parts).encode())
        for name, array in sorted(self._arrays.items()):
            if not name.startswith((CIDER, THINGS, CONFIDENCE)):
                digest.update(name.encode() + array.astype(np.float16).tobytes())
        return digest.hexdigest()[:16]

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by their names in the file."""
        things = self.thing_predictor.arrays if self.thing_predictor else {}
        confidence = self.confidence.arrays if self.confidence else {}
        return {
            **{JOINT + name: array for name, array in self.joint_embedding.arrays.items()},
            SAMPLED: self.sampled_features,
            **{CIDER + name: array for name, array in self.cider_predictor.arrays.items()},
            **{THINGS + name: array for name, array in things.items()},
            **{CONFIDENCE + name: array for name, array in confidence.items()},
        }

    def save(self, folder: Path, model: str) -> None:
        """Into a run's folder, quantized to int8; `model` is the fingerprint of its network."""
        header = _Header(model=model, weights=self.weights, parts=self.joint_embedding.parts)
        content = save(quantize(self._arrays), {"header": header.model_dump_json()})
        write_whole(folder / HEADS, content)

    @classmethod
    def load(cls, folder: Path, config: ModelConfig, model: str) -> "Heads":
        """From a run's folder; `model` is the fingerprint of its network.

        Raises CheckpointError for a wrong tensor or another model, and says what mends it.
        """
        file = folder / HEADS

        def refuse(problem: object) -> NoReturn:
            raise CheckpointError(
                f"{file}{problem}. Run: mrnn train-heads {folder} --data DATA; without that file "
                "the model captions by likelihood alone"
            )

        if not file.exists():
            refuse(" does not exist, so the model has no retrieval head")
        try:
            return _read(file, config, model)
        except ValueError as error:
            refuse(error)


def _read(file: Path, config: ModelConfig, model: str) -> Heads:
    """Raises ValueError: the end of a line that begins with the file's name."""
    metadata, forms = read_header(file)
    header = _header_of(metadata.get("header", "null"), model)
    check_forms(forms, _forms(forms, config))
    tensors = dequantize(read_tensors(file, forms))
    _check_token_ids(tensors, CIDER + "token_ids", config.vocabulary_size)
    for name in (CIDER + "idf", CIDER + "max_idf", CIDER + "length_penalty"):
        if (tensors[name] < 0).any():
            raise ValueError(f": {name} holds values below 0")
    joint, cider, things, confidence = (
        {name.removeprefix(head): t for name, t in tensors.items() if name.startswith(head)}
        for head in (JOINT, CIDER, THINGS, CONFIDENCE)
    )
    if things:
        _check_token_ids(tensors, THINGS + "phrase_ids", config.vocabulary_size)
        rows = things["phrase_thing"]
        if ((rows < NOTHING) | (rows >= len(things["bias"]))).any():
            raise ValueError(f": {THINGS}phrase_thing holds rows that {THINGS}weight lacks")
    width = len(joint["image_bias"])
    if width % header.parts:
        raise ValueError(f": {header.parts} parts cannot share {width} dimensions")
    return Heads(
        JointEmbedding(**joint, parts=header.parts), tensors[SAMPLED], header.weights,
        CiderPredictor(**cider), ThingPredictor(**things) if things else None,
        Confidence(**confidence) if confidence else None,
    )  # fmt: skip


def _header_of(text: str, model: str) -> _Header:
    try:
        content = parse_json(text, "header", unique_keys=True)
    except DataError as error:
        problem = str(error).partition(": ")[2]
        raise ValueError(f": its header is {problem}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or type(found) is not int:
        raise ValueError(
            f" has format {found!r:.40}, not {FORMAT}, so upgrade mrnn if that is newer"
        )
    try:
        header = _Header.model_validate(content, strict=True)
    except ValidationError as error:
        raise ValueError(f": {first_problem(error)}") from error
    if header.model != model:
        raise ValueError(" was made for another model")
    return header


def _forms(found: Mapping[str, TensorForm], config: ModelConfig) -> dict[str, TensorForm]:
    """The expected forms, given the number of dimensions, photos, n-grams and lengths."""
    forms: dict[str, TensorForm] = {}
    for name, shape in _shapes(found, config).items():
        forms |= {name: TensorForm("I32", shape)} if name in INTEGERS else stored_as(shape, name)
    return forms


def _shapes(found: Mapping[str, TensorForm], config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of all arrays."""

    def count(name: str, axis: int = 0) -> int:
        shape = found[name].shape if name in found else ()
        return max(1, shape[axis] or 1) if len(shape) > axis else 1

    words, features = config.vocabulary_size, config.image_size
    width = count(JOINT + "image_bias")
    ngrams, directions = (count(CIDER + "ngram_weight", axis) for axis in (0, 1))
    joint = {
        "words": (words, width), "image_weight": (width, features), "image_bias": (width,),
        "feature_mean": (features,), "feature_scale": (features,),
    }  # fmt: skip
    cider = {
        "token_ids": (ngrams, LONGEST), "idf": (ngrams,), "max_idf": (1,),
        "ngram_weight": (ngrams, directions), "ngram_bias": (ngrams,),
        "image_weight": (directions, features), "feature_mean": (features,),
        "length_penalty": (count(CIDER + "length_penalty"),),
    }  # fmt: skip
    known, phrases = count(THINGS + "bias"), count(THINGS + "phrase_thing")
    things = {
        "weight": (known, features), "bias": (known,), "feature_mean": (features,),
        "phrase_ids": (phrases, count(THINGS + "phrase_ids", 1)), "phrase_thing": (phrases,),
    }  # fmt: skip
    signals = (len(Signals._fields),)
    confidence = {"weight": signals, "bias": (1,), "signal_mean": signals}
    optional = {
        head + name: shape
        for head, shapes in ((THINGS, things), (CONFIDENCE, confidence))
        if any(name.startswith(head) for name in found)
        for name, shape in shapes.items()
    }
    return {
        **{JOINT + name: shape for name, shape in joint.items()},
        SAMPLED: (count(SAMPLED), features),
        **{CIDER + name: shape for name, shape in cider.items()},
        **optional,
    }


def _check_token_ids(tensors: Mapping[str, np.ndarray], name: str, vocabulary_size: int) -> None:
    """One or more words of the vocabulary, then padding."""
    ids: Int[np.ndarray, "G _"] = tensors[name]
    words = (ids >= 0) & (ids < vocabulary_size)
    whole = words[:, 0].all() and (words | (ids == PADDING)).all()
    if not whole or (words[:, 1:] & ~words[:, :-1]).any():
        raise ValueError(f": {name} holds no n-grams of the vocabulary")
