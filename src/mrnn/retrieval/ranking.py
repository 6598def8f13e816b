"""Scores that rank photos for a sentence and sentences for a photo.

Exhaustive retrieval scores every pair as the paper does: photos by log P(sentence | photo),
sentences by log P(sentence | photo) - log P(sentence). Two-stage retrieval finds each query's
candidates in the joint embedding; of these alone the likelihood is computed, and both count.

Letters: S sentences, N images, F image feature, Q queries, C candidates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrnn.model.heads import Heads
from mrnn.model.network import Network
from mrnn.retrieval.likelihood import Words, log_likelihoods, log_marginals
from mrnn.shapes import Bool, Float, Float32

CANDIDATES = 15
"""Candidates of each query in two-stage retrieval."""
NEAREST = 10
"""Sampled photos over which two-stage retrieval takes P(sentence)."""
PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class PairScores:
    """Scores of all pairs; higher is better."""

    sentence_to_image: Float32[np.ndarray, "S N"]
    image_to_sentence: Float32[np.ndarray, "S N"]
    image_to_sentence_without_marginal: Float32[np.ndarray, "S N"]


def exhaustive_scores(
    network: Network,
    sentences: Sequence[Words],
    features: Float[np.ndarray, "N F"],
    marginals: Float[np.ndarray, " S"],
    on_pairs: Callable[[int], None] = lambda _: None,
) -> PairScores:
    """Exhaustive retrieval: the likelihood of every pair; `marginals` are nats of log P(sentence).

    `on_pairs` is called with how many likelihoods have just been computed.
    """
    scores = log_likelihoods(network, sentences, features, on_pairs=on_pairs)
    return PairScores(scores, scores - marginals[:, None], scores)


def two_stage_scores(
    network: Network,
    heads: Heads,
    sentences: Sequence[Words],
    features: Float[np.ndarray, "N F"],
    marginals: Float[np.ndarray, " S"],
    *,
    candidates: int = CANDIDATES,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> PairScores:
    """Two-stage retrieval: similarity, and the likelihood of the best `candidates` of each query.

    Memory beside the arguments: at most seven matrices of the size of a result, and that of
    `log_likelihoods`.
    """
    vectors = heads.embed_text(sentences)
    similarity = vectors @ heads.embed_image(features).T
    correction = heads.hubness_correction(vectors)
    for_sentence, for_image = _candidates_of_both(similarity, correction, candidates)
    scores = log_likelihoods(
        network, sentences, features, wanted=for_sentence | for_image, on_pairs=on_pairs
    )
    to_image, to_sentence, plain = (np.empty_like(scores) for _ in range(3))
    weight = heads.weights.sentence_to_image
    for part in _parts(*similarity.shape):
        near = similarity[part]
        to_image[part] = candidates_first(for_sentence[part], weight * near + scores[part], near)
    weight = heads.weights.image_to_sentence
    for part in _parts(*similarity.T.shape):
        chosen, near, score = for_image[:, part].T, similarity[:, part].T, scores[:, part].T
        corrected = near - correction
        both = weight * corrected + score - marginals
        to_sentence[:, part] = candidates_first(chosen, both, corrected).T
        plain[:, part] = candidates_first(chosen, weight * near + score, near).T
    return PairScores(to_image, to_sentence, plain)


def near_marginals(
    network: Network,
    heads: Heads,
    sentences: Sequence[Words],
    count: int = NEAREST,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> Float32[np.ndarray, " S"]:
    """Nats of log P(sentence) over the sampled photos, of which only the nearest `count` count.

    This is a close lower bound: the nearest photos give most of P(sentence).
    """
    sampled = heads.sampled_features
    near = best_candidates(heads.embed_text(sentences) @ heads.embed_image(sampled).T, count)
    return log_marginals(
        log_likelihoods(network, sentences, sampled, wanted=near, on_pairs=on_pairs)
    )


def best_candidates(similarity: Float[np.ndarray, "Q C"], count: int) -> Bool[np.ndarray, "Q C"]:
    """Which candidates are a query's best `count`, equal ones by index; all, if there are fewer."""
    queries, size = similarity.shape
    best = np.ones(similarity.shape, dtype=bool)
    if count >= size:
        return best
    for part in _parts(queries, size):
        block = similarity[part]
        edge = np.partition(block, size - count, axis=1)[:, size - count, None]
        above, equal = block > edge, block == edge
        left = count - above.sum(axis=1, keepdims=True)
        best[part] = above | (equal & (equal.cumsum(axis=1) <= left))
    return best


def candidates_first(
    chosen: Bool[np.ndarray, "Q C"],
    scores: Float[np.ndarray, "Q C"],
    similarity: Float[np.ndarray, "Q C"],
) -> Float[np.ndarray, "Q C"]:
    """The scores of the chosen candidates; below them the others, by similarity alone."""
    least = scores.min(axis=1, keepdims=True, where=chosen, initial=np.inf)
    return np.where(chosen, scores, least - 3 + similarity)


def _candidates_of_both(
    similarity: Float[np.ndarray, "S N"], correction: Float[np.ndarray, " S"], count: int
) -> tuple[Bool[np.ndarray, "S N"], Bool[np.ndarray, "S N"]]:
    """Each sentence's candidate images; each image's candidate sentences."""
    for_image = np.empty(similarity.shape, dtype=bool)
    for part in _parts(*similarity.T.shape):
        for_image[:, part] = best_candidates(similarity[:, part].T - correction, count).T
    return best_candidates(similarity, count), for_image


def _parts(queries: int, candidates: int) -> Iterator[slice]:
    """Blocks of queries whose pairs take little memory."""
    size = max(1, PAIRS_AT_ONCE // max(1, candidates))
    return (slice(start, start + size) for start in range(0, queries, size))
