"""Training of a model's heads, after its network, which stays as it is.

Letters: N images, F image feature, S sentences, Q queries, C candidates.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import Features, load_features
from mrnn.data.splits import hold_out
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.familiarity import evenly_spaced
from mrnn.model.heads import Heads, RetrievalWeights
from mrnn.model.joint_embedding import JointEmbedding
from mrnn.model.network import Network
from mrnn.model.quantization import dequantize, quantize, rounded
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.ranking import best_candidates, candidates_first, near_marginals
from mrnn.shapes import Bool, Float, Float32
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.cider_predictor import fit_cider_predictor
from mrnn.training.confidence import fit_confidence
from mrnn.training.devices import find_device
from mrnn.training.joint_embedding import train_joint_embedding
from mrnn.training.power_normalization import standardize
from mrnn.training.rare_words import embed_rare_words, output_layer, photo_counts
from mrnn.training.recipe import HeadOptions
from mrnn.training.text import read_photos_of_text
from mrnn.training.thing_predictor import fit_thing_predictor

SAMPLED_IMAGES = 200
QUERIES, CANDIDATES = 200, 20
"""For the choice of weights: the most queries, every other photo of dev, and candidates of each."""
WEIGHTS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 120.0, 160.0, 200.0, 300.0, 400.0)
"""Retrieval weights to choose from; nats per unit of similarity."""
MOST_VALUES = 2**29
"""Of the features in memory, 2 GiB: those of 129,055 photos by the shipped encoder."""
DEV_PHOTOS = 5000
"""The most photos of dev among which retrieval weights are chosen, as in COCO."""
UNWEIGHTED = RetrievalWeights(sentence_to_image=0.0, image_to_sentence=0.0)


def train_heads(
    checkpoint: Checkpoint,
    dataset: Dataset,
    options: HeadOptions | None = None,
    on_step: Callable[[], None] = lambda: None,
    device: str = "cpu",
    text: Sequence[Path] = (),
) -> Heads:
    """Train on the photos that the network was trained on; choose retrieval weights on dev's half.

    The joint embedding is trained on the device. On the CPU the same seed gives the same heads, bit
    for bit. `on_step` is called for each step of each part of the joint embedding, and for each
    held-out photo. Confidence is fitted on these; without them the heads have none. The CIDEr
    predictor also takes what files of `text` say, see `mrnn.data.text`. Raises DataError where a
    split or a feature is missing, and for bad text; OptionsError for a device that is not there.
    """
    options, there = options or HeadOptions(), find_device(device)
    images, held_out = hold_out(dataset.split("train"), checkpoint.config.held_out)
    features = load_features(dataset, checkpoint.encoder)
    others = [image for image in dataset.images if image.split != "train"]
    similar = read_photos_of_text(text, [*held_out, *others], checkpoint.vocabulary)
    heads = _unweighted(checkpoint, features, images, options, on_step, there, similar)
    dev = evenly_spaced(dataset.split("dev"), DEV_PHOTOS)
    weights = _choose_weights(
        checkpoint.network, heads, _encoded(checkpoint, dev), _in_memory(features, dev)
    )
    heads = replace(heads, weights=weights)
    if not held_out:
        return heads
    confidence = fit_confidence(
        checkpoint, heads, held_out, _in_memory(features, held_out), images, on_step
    )
    return replace(heads, confidence=confidence)


def _unweighted(
    checkpoint: Checkpoint,
    features: Features,
    images: Sequence[CaptionedImage],
    options: HeadOptions,
    on_step: Callable[[], None],
    device: torch.device,
    text: Sequence[Sequence[Sequence[int]]],
) -> Heads:
    """Heads trained on these images, and on text, before retrieval weights are chosen.

    Features are read from the disk: those of evenly spaced images once, see `MOST_VALUES`, for what
    needs them in memory; then all of them, a block at a time, for the CIDEr predictor.
    """
    some = evenly_spaced(images, max(2, MOST_VALUES // checkpoint.encoder.feature_size))
    captions, words = _encoded(checkpoint, images), len(checkpoint.vocabulary)
    scaled = standardize(features.select(some), device)
    embedding = train_joint_embedding(
        scaled, _encoded(checkpoint, some), words, options.joint_embedding, on_step
    )
    things = fit_thing_predictor(
        scaled, [image.words for image in some], checkpoint.vocabulary, options.thing_predictor
    )
    del scaled  # as the CIDEr predictor needs memory too
    counts = photo_counts(captions, words)
    placed = embed_rare_words(embedding.words, output_layer(checkpoint), counts)
    embedding = replace(embedding, words=placed)
    random = torch.Generator().manual_seed(options.joint_embedding.seed)
    sampled = torch.randperm(len(some), generator=random)[:SAMPLED_IMAGES].tolist()
    return Heads(
        JointEmbedding(**dequantize(quantize(embedding.arrays)), parts=embedding.parts),
        rounded(_in_memory(features, [some[row] for row in sampled])),
        UNWEIGHTED,
        fit_cider_predictor(features.select(images), captions, options.cider_predictor, text),
        things,
    )


def save_heads(
    run: Path,
    dataset: Dataset,
    options: HeadOptions,
    on_step: Callable[[], None] = lambda: None,
    device: str = "cpu",
    text: Sequence[Path] = (),
) -> Heads:
    """Train the heads of a model's folder, which nothing else may write, and save them there."""
    checkpoint = Checkpoint.load(run, heads=False)
    heads = train_heads(checkpoint, dataset, options, on_step, device, text)
    heads.save(run, checkpoint.fingerprint)
    return heads


def _encoded(checkpoint: Checkpoint, images: Sequence[CaptionedImage]) -> EncodedCaptions:
    return EncodedCaptions.of([image.words for image in images], checkpoint.vocabulary)


def _in_memory(features: Features, images: Sequence[CaptionedImage]) -> Float32[np.ndarray, "N F"]:
    return features.of(images).astype(np.float32)


def _choose_weights(
    network: Network,
    heads: Heads,
    captions: EncodedCaptions,
    features: Float32[np.ndarray, "N F"],
) -> RetrievalWeights:
    """The weights with the best mean reciprocal rank; all photos and captions are candidates."""
    vectors = heads.embed_text(captions.sentences)
    similarity = vectors @ heads.embed_image(features).T
    images = np.arange(0, len(features), 2)[:QUERIES]
    sentences = _first_of_each(captions, images)
    for_sentence = best_candidates(similarity[sentences], CANDIDATES)
    corrected = (similarity - heads.hubness_correction(vectors)[:, None]).T[images]
    for_image = best_candidates(corrected, CANDIDATES)
    wanted = np.zeros(similarity.shape, dtype=bool)
    wanted[sentences] = for_sentence
    wanted[:, images] |= for_image.T
    scores = log_likelihoods(network, captions.sentences, features, wanted=wanted)
    candidates = np.flatnonzero(for_image.any(axis=0))
    marginals = np.zeros(len(captions), dtype=np.float32)
    marginals[candidates] = near_marginals(
        network, heads, [captions.sentences[i] for i in candidates.tolist()]
    )
    truth = captions.image_rows[:, None] == np.arange(len(features))
    return RetrievalWeights(
        sentence_to_image=_best_weight(
            similarity[sentences], scores[sentences], wanted[sentences], truth[sentences]
        ),
        image_to_sentence=_best_weight(
            corrected, scores.T[images] - marginals, for_image, truth.T[images]
        ),
    )


def _first_of_each(captions: EncodedCaptions, images: np.ndarray) -> np.ndarray:
    """The first sentence of each of these images, if it has one."""
    owned = np.flatnonzero(np.isin(captions.image_rows, images))
    _, firsts = np.unique(captions.image_rows[owned], return_index=True)
    return owned[firsts]


def _best_weight(
    similarity: Float[np.ndarray, "Q C"],
    scores: Float[np.ndarray, "Q C"],
    chosen: Bool[np.ndarray, "Q C"],
    truth: Bool[np.ndarray, "Q C"],
) -> float:
    """The weight with the best mean reciprocal rank; of equal ones the lowest."""

    def mean_reciprocal_rank(weight: float) -> float:
        both = candidates_first(chosen, weight * similarity + scores, similarity)
        found = np.where(truth, both, -np.inf).max(axis=1, keepdims=True)
        return float((1 / (1 + (both > found).sum(axis=1))).mean())

    return max(WEIGHTS, key=mean_reciprocal_rank)
