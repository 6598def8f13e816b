"""The paper's second and third tasks on a split: sentences for photos and photos for sentences.

Letters: S sentences, N images, F image feature.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict

from mrnn.batching import EncodedCaptions
from mrnn.metrics.ranking import (
    RankingScores,
    folds,
    image_to_sentence_ranks,
    mean_scores,
    ranking_scores,
    sentence_to_image_ranks,
)
from mrnn.ranking import CANDIDATES, NEAREST, Ranker, Rankings, rank_exactly, rank_fast


class RetrievalScores(BaseModel):
    """Both directions; all images of the split, or of a fold, and all their sentences compete."""

    model_config = ConfigDict(frozen=True)

    image_to_sentence: RankingScores
    """By the first of an image's sentences that is found."""
    sentence_to_image: RankingScores
    image_to_sentence_without_marginal: RankingScores
    """By P(sentence | image) alone, without division by P(sentence)."""


def evaluate_retrieval(
    ranker: Ranker,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
    *,
    exact: bool = False,
    marginal_images: int = NEAREST,
    fold_count: int = 1,
    precision: torch.dtype = torch.float32,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> RetrievalScores:
    """The figures of a split, whose captions name rows of `features`; means over the folds.

    P(sentence) is taken over the first `marginal_images` of the ranker's sampled photos; over the
    nearest of them where it is not `exact`.
    """
    rows, count = captions.image_rows, len(features)
    found = []
    for sentences, images in folds(rows, count, fold_count):
        chosen = [captions.sentences[i] for i in sentences]
        marginals = (ranker.marginals if exact else ranker.near_marginals)(
            chosen, marginal_images, precision=precision, on_pairs=on_pairs
        )
        rank = rank_exactly if exact else rank_fast
        rankings = rank(ranker, chosen, features[images], marginals, precision, on_pairs)
        found.append(_scores(rankings, rows[sentences] - images.start))
    return RetrievalScores(
        **{
            name: mean_scores([getattr(scores, name) for scores in found])
            for name in RetrievalScores.model_fields
        }
    )


def pairs_to_score(
    sentences: int, images: int, marginal_images: int, fold_count: int, *, exact: bool
) -> int:
    """Of how many pairs `evaluate_retrieval` asks the likelihood, at most: for progress."""
    candidates = CANDIDATES * (sentences + images)
    return sentences * marginal_images + (sentences * images // fold_count if exact else candidates)


def _scores(rankings: Rankings, image_of: Int[np.ndarray, " S"]) -> RetrievalScores:
    plain = rankings.image_to_sentence_without_marginal
    return RetrievalScores(
        image_to_sentence=ranking_scores(
            image_to_sentence_ranks(rankings.image_to_sentence, image_of)
        ),
        sentence_to_image=ranking_scores(
            sentence_to_image_ranks(rankings.sentence_to_image, image_of)
        ),
        image_to_sentence_without_marginal=ranking_scores(image_to_sentence_ranks(plain, image_of)),
    )
