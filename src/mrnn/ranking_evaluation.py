"""The paper's second and third tasks on a split: sentences for photos and photos for sentences.

Letters: S sentences, N images, F image feature, K sampled images.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict

from mrnn.batching import EncodedCaptions
from mrnn.caption_scores import RESAMPLES, Interval, Setting
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals
from mrnn.metrics.ranking import (
    RankingScores,
    folds,
    image_to_sentence_ranks,
    mean_scores,
    ranking_figures_of_sets,
    ranking_scores,
    sentence_to_image_ranks,
)
from mrnn.model import Network
from mrnn.ranking import CANDIDATES, NEAREST, Ranker, Rankings, rank_exactly, rank_fast
from mrnn.scoring import Words, log_likelihoods, log_marginals

Rank = Callable[[Sequence[Words], Float[np.ndarray, "N F"]], Rankings]
"""Scores all pairs of some sentences and the features of some images."""


class RetrievalScores(BaseModel):
    """Both directions; all images of the split, or of a fold, and all their sentences compete."""

    model_config = ConfigDict(frozen=True)

    image_to_sentence: RankingScores
    """By the first of an image's sentences that is found."""
    sentence_to_image: RankingScores
    image_to_sentence_without_marginal: RankingScores
    """Without division by P(sentence): by P(sentence | image), and if fast by likeness too."""


def exact_ranking(
    model: Network,
    sampled: Float[np.ndarray, "K F"],
    **options: Any,  # noqa: ANN401
) -> Rank:
    """By the likelihoods of all pairs; P(sentence) is the mean over the `sampled` images.

    `options` are those of `log_likelihoods`.
    """

    def rank(sentences: Sequence[Words], images: Float[np.ndarray, "N F"]) -> Rankings:
        marginals = log_marginals(log_likelihoods(model, sentences, sampled, **options))
        return rank_exactly(model, sentences, images, marginals, **options)

    return rank


def fast_ranking(
    ranker: Ranker,
    nearest: int = NEAREST,
    **options: Any,  # noqa: ANN401
) -> Rank:
    """By the joint space, and the likelihoods of a query's best candidates.

    P(sentence) is taken over the `nearest` of the ranker's sampled photos.
    """

    def rank(sentences: Sequence[Words], images: Float[np.ndarray, "N F"]) -> Rankings:
        marginals = ranker.near_marginals(sentences, nearest, **options)
        return rank_fast(ranker, sentences, images, marginals, **options)

    return rank


def evaluate_retrieval(
    rank: Rank,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
    *,
    fold_count: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[RetrievalScores, dict[str, Interval]]:
    """The figures of a split, whose captions name rows of `features`; means over the folds.

    And their intervals, by direction and figure, as `image_to_sentence.r@1`: over images, each of
    which keeps its sentences.
    """
    found: dict[str, list[RankingScores]] = {name: [] for name in RetrievalScores.model_fields}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in RetrievalScores.model_fields}
    for fold, (chosen, images) in enumerate(folds(captions.image_rows, len(features), fold_count)):
        own = captions.image_rows[chosen] - images.start
        sentences = [captions.sentences[i] for i in chosen]
        # The scores are as large as all the rest; the ranks are all that is kept of them.
        all_ranks = _ranks(rank(sentences, features[images]), own)
        for name, (ranks, image_of) in all_ranks.items():
            figures = partial(ranking_figures_of_sets, ranks, image_of)
            count = images.stop - images.start
            found[name].append(ranking_scores(ranks))
            drawn[name].append(bootstrap(figures, count, resamples=resamples, seed=seed + fold))
    keys = [field.serialization_alias or name for name, field in RankingScores.model_fields.items()]
    intervals = {
        f"{name}.{key}": (low, high)
        for name, of_folds in drawn.items()
        for key, (low, high) in zip(
            keys, percentile_intervals(np.mean(of_folds, axis=0)).tolist(), strict=True
        )
    }
    scores = {name: mean_scores(of_folds) for name, of_folds in found.items()}
    return RetrievalScores(**scores), intervals


def pairs_to_score(
    sentences: int, images: int, marginal_images: int, fold_count: int, *, exact: bool
) -> int:
    """Of how many pairs `evaluate_retrieval` asks the likelihood, at most: for progress."""
    candidates = CANDIDATES * (sentences + images)
    return sentences * marginal_images + (sentences * images // fold_count if exact else candidates)


def _ranks(
    rankings: Rankings, image_of: Int[np.ndarray, " S"]
) -> dict[str, tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]:
    """For each direction the rank of every query, and its image."""
    plain = rankings.image_to_sentence_without_marginal
    images = np.arange(plain.shape[1])
    return {
        "image_to_sentence": (
            image_to_sentence_ranks(rankings.image_to_sentence, image_of), images
        ),
        "sentence_to_image": (
            sentence_to_image_ranks(rankings.sentence_to_image, image_of), image_of
        ),
        "image_to_sentence_without_marginal": (image_to_sentence_ranks(plain, image_of), images),
    }  # fmt: skip


def retrieval_settings(
    *, exact: bool, marginal_images: int, images: int, sentences: int, precision: torch.dtype
) -> dict[str, Setting]:
    """What figures of retrieval depend on, with so many candidate images and sentences."""
    return {
        "ranking": "exact" if exact else "fast",
        "likelihoods": "all" if exact else f"of {CANDIDATES} candidates a query",
        "marginal_images": marginal_images,
        "candidate_images": images,
        "candidate_sentences": sentences,
        "equal_scores": "by index",
        "ranking_precision": str(precision).removeprefix("torch."),
    }
