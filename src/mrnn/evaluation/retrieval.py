"""The paper's second and third tasks on a split: sentences for photos and photos for sentences.

Letters: S sentences, N images, F image feature, K sampled images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.errors import CheckpointError
from mrnn.evaluation.captions import RESAMPLES, Interval, Setting
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals
from mrnn.metrics.recall import (
    RankingScores,
    folds,
    image_to_sentence_ranks,
    mean_scores,
    ranking_figures_of_sets,
    ranking_scores,
    sentence_to_image_ranks,
)
from mrnn.model.checkpoint import Checkpoint
from mrnn.precision import faster_precision
from mrnn.retrieval.likelihood import Words, log_likelihoods, log_marginals
from mrnn.retrieval.ranking import CANDIDATES, NEAREST, Ranker, Rankings, rank_exactly, rank_fast
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.network import Network

MARGINAL_IMAGES = 200
"""Of the train split, where ranking is exact."""

OnPairs = Callable[[int], None]
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
    precision: torch.dtype = torch.float32,
    on_pairs: OnPairs = lambda _: None,
) -> Rank:
    """By the likelihoods of all pairs; P(sentence) is the mean over the `sampled` images."""

    def rank(sentences: Sequence[Words], images: Float[np.ndarray, "N F"]) -> Rankings:
        scores = log_likelihoods(model, sentences, sampled, precision=precision, on_pairs=on_pairs)
        marginals = log_marginals(scores)
        return rank_exactly(model, sentences, images, marginals, precision, on_pairs)

    return rank


def fast_ranking(
    ranker: Ranker,
    nearest: int = NEAREST,
    precision: torch.dtype = torch.float32,
    on_pairs: OnPairs = lambda _: None,
) -> Rank:
    """By the joint space, and the likelihoods of a query's best candidates.

    P(sentence) is taken over the `nearest` of the ranker's sampled photos.
    """

    def rank(sentences: Sequence[Words], images: Float[np.ndarray, "N F"]) -> Rankings:
        marginals = ranker.near_marginals(sentences, nearest, precision, on_pairs)
        return rank_fast(ranker, sentences, images, marginals, precision, on_pairs)

    return rank


@dataclass(frozen=True)
class Retrieved:
    """Figures of retrieval, None where the model cannot rank; and how they were made."""

    scores: RetrievalScores | None
    intervals: dict[str, Interval]
    settings: dict[str, Setting]
    notes: list[str]


@dataclass(frozen=True)
class RankingPlan:
    """How images and sentences will be ranked for each other."""

    ranking: Callable[[torch.dtype, OnPairs], Rank]
    exact: bool
    marginal_images: int
    """Over how many P(sentence) is taken."""
    asked: int | None
    """Over how many it was to be taken, if that was said."""

    @classmethod
    def exactly(
        cls, run: Path, checkpoint: Checkpoint, dataset: Dataset, asked: int | None, seed: int
    ) -> "RankingPlan":
        """By every likelihood.

        The images for P(sentence) are drawn from train by the seed, or are the model's own where
        there is no train. Raises CheckpointError where the model sees no image, or has none.
        """
        _check_that_it_sees(checkpoint, run)
        if "train" in dataset.splits:
            train = dataset.split("train")
            random = torch.Generator().manual_seed(seed)
            drawn = torch.randperm(len(train), generator=random)[: asked or MARGINAL_IMAGES]
            chosen = [train[i] for i in drawn.tolist()]
            sampled = load_features(dataset, checkpoint.encoder).of(chosen)
        else:
            sampled = Ranker.load(run, checkpoint).sampled[:asked]
        return cls(partial(exact_ranking, checkpoint.model, sampled), True, len(sampled), asked)

    @classmethod
    def fast(cls, run: Path, checkpoint: Checkpoint, asked: int | None) -> "RankingPlan":
        """By the joint space. Raises CheckpointError for a model that has not learned to rank."""
        _check_that_it_sees(checkpoint, run)
        try:
            ranker = Ranker.load(run, checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"{error}. --exact ranks without it") from None
        count = min(asked or NEAREST, len(ranker.sampled))
        return cls(partial(fast_ranking, ranker, count), False, count, asked)

    def pairs(self, sentences: int, images: int, fold_count: int) -> int:
        """Of how many pairs `measure` asks the likelihood, at most: for progress."""
        marginals = sentences * self.marginal_images
        if self.exact:
            return marginals + sentences * images // fold_count
        return marginals + CANDIDATES * (sentences + images)

    def measure(
        self,
        captions: EncodedCaptions,
        features: Float[np.ndarray, "N F"],
        *,
        fold_count: int = 1,
        precision: torch.dtype | None = None,
        seed: int = 0,
        on_pairs: OnPairs = lambda _: None,
    ) -> Retrieved:
        """As `evaluate_retrieval`; in float32 if exact, else as is faster here, or as is said."""
        faster = "float32" if self.exact else faster_precision()
        dtype: torch.dtype = precision or getattr(torch, faster)
        scores, intervals = evaluate_retrieval(
            self.ranking(dtype, on_pairs), captions, features, fold_count=fold_count, seed=seed
        )
        inside = len(features) - len(features) % fold_count  # of a fold
        settings = retrieval_settings(
            exact=self.exact,
            marginal_images=self.marginal_images,
            images=len(features) // fold_count,
            sentences=int((captions.image_rows < inside).sum()) // fold_count,
            precision=dtype,
        )
        few = self.marginal_images < (self.asked or 0)
        note = f"P(sentence) over {self.marginal_images:,} training images, as there are no more"
        return Retrieved(scores, intervals, settings, [f"retrieval: {note}"] if few else [])


def _check_that_it_sees(checkpoint: Checkpoint, run: Path) -> None:
    if not checkpoint.model.config.sees_image:
        raise CheckpointError(f"{run} sees no image, so to it images are all alike")


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
