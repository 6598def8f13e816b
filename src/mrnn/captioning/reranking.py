"""The score that orders the hypotheses of a photo: a weighted sum of what speaks for each.

To add a term: a function here, its line in `TERMS`, and its weight in `RerankingOptions`.

Letters: N photos, F image feature, H hypotheses of a photo.
"""

from collections.abc import Callable, Sequence

import numpy as np

from mrnn.captioning.hypotheses import Hypothesis
from mrnn.model.config import RerankingOptions
from mrnn.model.heads import Heads
from mrnn.shapes import Float

DECIMALS = 4
"""Decimals of each term; later ones depend on the batch."""

Sentences = Sequence[Sequence[Sequence[int]]]
"""The hypotheses of each photo, as word ids."""
Scores = list[Float[np.ndarray, " H"]]
"""The scores of each photo's hypotheses."""
Term = Callable[[Heads, Sentences, Float[np.ndarray, "N F"]], Scores]


def similarity(heads: Heads, sentences: Sentences, features: Float[np.ndarray, "N F"]) -> Scores:
    """The cosine of photo and sentence in the joint embedding, -1 to 1."""
    return heads.similarity(sentences, features)


def predicted_cider(
    heads: Heads, sentences: Sentences, features: Float[np.ndarray, "N F"]
) -> Scores:
    """The CIDEr-D that is predicted from the photo alone, near 0 to 10."""
    return heads.predicted_cider(sentences, features)


def things(heads: Heads, sentences: Sentences, features: Float[np.ndarray, "N F"]) -> Scores:
    """For each thing that a sentence names: the probability that people name it, less 3/4."""
    return heads.thing_support(sentences, features)


TERMS: dict[str, Term] = {
    "similarity_weight": similarity,
    "predicted_cider_weight": predicted_cider,
    "thing_weight": things,
}


def reranking_scores(
    heads: Heads,
    hypotheses: Sequence[Sequence[Hypothesis]],
    features: Float[np.ndarray, "N F"],
    options: RerankingOptions,
    *,
    likelihood_weight: float = 1.0,
) -> Scores:
    """The weighted sum of a hypothesis' score in the search and of the terms."""
    sentences = [[hypothesis.words for hypothesis in found] for found in hypotheses]
    scores = [np.array([likelihood_weight * h.score for h in found]) for found in hypotheses]
    for name, weight in options.weights.items():
        for score, term in zip(scores, TERMS[name](heads, sentences, features), strict=True):
            score += weight * term.round(DECIMALS)
    return scores


def best_first(
    hypotheses: Sequence[Hypothesis], scores: Float[np.ndarray, " H"]
) -> list[Hypothesis]:
    """By falling score; of equals, the earlier stays before the later."""
    return [hypotheses[place] for place in np.argsort(-scores, kind="stable")]
