"""Rank photos for a sentence and sentences for a photo, by one model that also captions.

Exactly: photos by log P(sentence | photo), sentences by log P(sentence | photo) - log P(sentence),
the latter over sampled training photos. Fast: candidates by the joint space, exact likelihoods of
the best of them alone, and both together decide.

Letters: S sentences, N images, F image feature, D joint space, K sampled images.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mrnn.model.checkpoint import Checkpoint
from mrnn.model.cider_predictor import ExpectedCider
from mrnn.model.heads import (
    RANKING,
    SAMPLED,
    RankingParts,
    Weights,
    read_ranking,
    write_ranking,
)
from mrnn.model.joint_embedding import JointSpace
from mrnn.retrieval.likelihood import Words, log_likelihoods, log_marginals
from mrnn.shapes import Bool, Float
from mrnn.training.network import Network

CANDIDATES = 15
"""For how many of a query's candidates the exact likelihood is worked out."""
NEAREST = 10
"""Sampled photos that P(sentence) is taken over where it must be quick."""
IMAGES_AT_ONCE = 512
PAIRS_AT_ONCE = 2_000_000
SOFTNESS, SHARE = 0.05, 0.5
"""Of `Ranker.commonness`: how soft its maximum is, and how much of it counts."""


@dataclass(frozen=True)
class Ranker:
    """A model with what judges how sentences fit photos: a joint space and the CIDEr to expect."""

    checkpoint: Checkpoint
    space: JointSpace
    sampled: Float[np.ndarray, "K F"]
    """Features of training photos, over which P(sentence) is taken."""
    weights: Weights
    expected: ExpectedCider
    """Orders captions; no part of ranking."""

    def save(self, folder: Path) -> None:
        """To a sibling, then renamed; matrices are rounded to a byte a number."""
        parts = RankingParts(self.space, self.sampled, self.weights, self.expected)
        write_ranking(folder, self.checkpoint, parts)

    @classmethod
    def load(cls, folder: Path, checkpoint: Checkpoint) -> "Ranker":
        """Of the model in a run's folder; refuses one that was made for another model."""
        return cls(checkpoint, **vars(read_ranking(folder, checkpoint)))

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

    def expected_cider(
        self, sentences: Sequence[Sequence[Words]], images: Float[np.ndarray, "N F"]
    ) -> list[Float[np.ndarray, " _"]]:
        """For each photo, of each of its own sentences the CIDEr to expect, near 0 to 10."""
        own = [[[*map(int, words)] for words in each] for each in sentences]
        return self.expected.score(own, images)

    def near_marginals(
        self,
        sentences: Sequence[Words],
        count: int = NEAREST,
        precision: torch.dtype = torch.float32,
        on_pairs: Callable[[int], None] = lambda _: None,
    ) -> Float[np.ndarray, " S"]:
        """Nats of log P(sentence) over the sampled photos, of which the nearest alone count.

        A bound from below, and a near one: P(sentence) is mostly that of the photos that fit best.
        """
        near = best_candidates(self.read(sentences) @ self.see(self.sampled).T, count)
        scores = log_likelihoods(
            self.checkpoint.model, sentences, self.sampled,
            wanted=near, precision=precision, on_pairs=on_pairs,
        )  # fmt: skip
        return log_marginals(scores)

    def commonness(self, sentences: Float[np.ndarray, "S D"]) -> Float[np.ndarray, " S"]:
        """How near sentences lie to any photo, by their vectors: the marginal of the joint space.

        What fits every photo a little would else come up for every photo.
        """
        likeness = sentences @ self.see(self.sampled).T / SOFTNESS
        marginals: np.ndarray = SHARE * SOFTNESS * log_marginals(likeness)
        return marginals


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
