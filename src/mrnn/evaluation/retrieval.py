"""The paper's second and third tasks on a split: sentences for photos and photos for sentences.

Letters: S sentences, N images, F image feature, K sampled images, Q queries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.errors import CheckpointError
from mrnn.evaluation.captions import RESAMPLES, Interval
from mrnn.evaluation.settings import Setting
from mrnn.metrics import recall
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals
from mrnn.metrics.recall import RecallScores
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import Heads
from mrnn.model.network import Network
from mrnn.retrieval.likelihood import Words, log_likelihoods, log_marginals
from mrnn.retrieval.ranking import (
    CANDIDATES,
    NEAREST,
    PairScores,
    exhaustive_scores,
    near_marginals,
    two_stage_scores,
)
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions

SAMPLED = 200
"""Training photos over which exhaustive retrieval takes P(sentence)."""

OnPairs = Callable[[int], None]
"""Called with how many likelihoods have just been computed."""


class RetrievalScores(BaseModel):
    """Both directions; all images of the split, or of a fold, and all their sentences compete."""

    model_config = ConfigDict(frozen=True)

    image_to_sentence: RecallScores
    """By the first of an image's sentences that is found."""
    sentence_to_image: RecallScores
    image_to_sentence_without_marginal: RecallScores
    """Without division by P(sentence)."""


@dataclass(frozen=True)
class RetrievalReport:
    """Figures of retrieval, and what they depend on."""

    scores: RetrievalScores
    """Means over the folds."""
    intervals: dict[str, Interval]
    """By direction and figure, as `image_to_sentence.r@1`; over images with all their sentences."""
    settings: dict[str, Setting]
    notes: list[str]
    ranks: dict[str, Int[np.ndarray, " _"]]
    """By direction, from 1: of every image or caption in its order, fold by fold."""


def evaluate_retrieval(
    network: Network,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
    *,
    heads: Heads | None = None,
    sampled: Float[np.ndarray, "K F"] | None = None,
    marginal_images: int | None = None,
    folds: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_pairs: OnPairs = lambda _: None,
) -> RetrievalReport:
    """Retrieval of images and captions, whose image rows are those of `features`.

    Two-stage by the heads: P(sentence) is taken over the `marginal_images` nearest of their sampled
    photos, by default 10. Exhaustive if `sampled` features are given: then over these. `seed` is
    for the intervals. Raises CheckpointError for a network without images, and for missing heads.
    """
    if not network.config.sees_image:
        raise CheckpointError("This model takes no images, so it cannot rank them")
    photos = sampled
    if photos is None:
        if heads is None:
            raise CheckpointError(
                "This model has no retrieval head; run mrnn train-heads, or add --exhaustive"
            )
        photos = heads.sampled_features
    count = min(marginal_images or (NEAREST if sampled is None else len(photos)), len(photos))
    scores: dict[str, list[RecallScores]] = {name: [] for name in RetrievalScores.model_fields}
    resampled: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    all_ranks: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for fold, (chosen, images) in enumerate(
        recall.folds(captions.image_rows, len(features), folds)
    ):
        sentences, own = [captions.sentences[i] for i in chosen], captions.image_rows[chosen]
        # Pair scores are larger than all the rest, so only the ranks are kept.
        pairs = _pair_scores(network, heads, sentences, features[images], sampled, count, on_pairs)
        ranks = _ranks(pairs, own - images.start)
        del pairs
        for name, (found, image_of) in ranks.items():
            figures = partial(recall.recall_scores_of_sets, found, image_of)
            scores[name].append(recall.recall_scores(found))
            size = images.stop - images.start
            resampled[name].append(bootstrap(figures, size, resamples=resamples, seed=seed + fold))
            all_ranks[name].append(found)
    few = f"retrieval: P(sentence) over {count:,} training images, as there are no more"
    return RetrievalReport(
        scores=RetrievalScores(**{name: recall.mean_scores(each) for name, each in scores.items()}),
        intervals=_intervals(resampled),
        settings=_settings(sampled is not None, count, captions, len(features), folds),
        notes=[few] * (count < (marginal_images or 0)),
        ranks={name: np.concatenate(of_folds) for name, of_folds in all_ranks.items()},
    )


def marginal_features(
    dataset: Dataset, checkpoint: Checkpoint, count: int | None = None, seed: int = 0
) -> Float[np.ndarray, "K F"]:
    """Of `count` training photos, by default 200, over which to take P(sentence).

    Sampled from the train split; where there is none, the model's own. Raises CheckpointError
    where it has none either.
    """
    count = count or SAMPLED
    if "train" in dataset.splits:
        train = dataset.split("train")
        order = np.random.default_rng(seed).permutation(len(train))
        return load_features(dataset, checkpoint.encoder).of([train[i] for i in order[:count]])
    if checkpoint.heads is None:
        raise CheckpointError(
            f"{dataset.folder} has no train split to take P(sentence) over, and the model has no "
            "photos of its own; add a train split, or run mrnn train-heads"
        )
    return checkpoint.heads.sampled_features[:count]


def pair_count(
    captions: int, images: int, *, exhaustive: bool, marginal_images: int | None, folds: int = 1
) -> int:
    """How many likelihoods `evaluate_retrieval` computes at most: for progress."""
    if exhaustive:
        return captions * (marginal_images or SAMPLED) + captions * images // folds
    return captions * (marginal_images or NEAREST) + CANDIDATES * (captions + images)


def _pair_scores(
    network: Network,
    heads: Heads | None,
    sentences: Sequence[Words],
    features: Float[np.ndarray, "N F"],
    sampled: Float[np.ndarray, "K F"] | None,
    count: int,
    on_pairs: OnPairs,
) -> PairScores:
    """Exhaustive over the first `count` of `sampled`, or two-stage over the `count` nearest."""
    if sampled is not None:
        marginals = log_marginals(
            log_likelihoods(network, sentences, sampled[:count], on_pairs=on_pairs)
        )
        return exhaustive_scores(network, sentences, features, marginals, on_pairs)
    assert heads is not None
    marginals = near_marginals(network, heads, sentences, count, on_pairs)
    return two_stage_scores(network, heads, sentences, features, marginals, on_pairs=on_pairs)


def _ranks(
    pairs: PairScores, image_of: Int[np.ndarray, " S"]
) -> dict[str, tuple[Int[np.ndarray, " Q"], Int[np.ndarray, " Q"]]]:
    """By direction the rank of every query, and its image."""
    plain = pairs.image_to_sentence_without_marginal
    images = np.arange(plain.shape[1])
    return {
        "image_to_sentence": (
            recall.image_to_sentence_ranks(pairs.image_to_sentence, image_of), images
        ),
        "sentence_to_image": (
            recall.sentence_to_image_ranks(pairs.sentence_to_image, image_of), image_of
        ),
        "image_to_sentence_without_marginal": (
            recall.image_to_sentence_ranks(plain, image_of), images
        ),
    }  # fmt: skip


def _intervals(resampled: dict[str, list[np.ndarray]]) -> dict[str, Interval]:
    """Of the means over folds, given each fold's figures of resampled images."""
    keys = [field.serialization_alias or name for name, field in RecallScores.model_fields.items()]
    return {
        f"{name}.{key}": (low, high)
        for name, of_folds in resampled.items()
        for key, (low, high) in zip(
            keys, percentile_intervals(np.mean(of_folds, axis=0)).tolist(), strict=True
        )
    }


def _settings(
    exhaustive: bool, marginal_images: int, captions: EncodedCaptions, images: int, folds: int
) -> dict[str, Setting]:
    """The settings of the figures."""
    size = images // folds
    return {
        "retrieval": "exhaustive" if exhaustive else "two-stage",
        "likelihoods": "of all pairs" if exhaustive else f"of {CANDIDATES} candidates a query",
        "marginal_images": marginal_images,
        "candidate_images": size,
        "candidate_sentences": int((captions.image_rows < size * folds).sum()) // folds,
        "equal_scores": "by index",
        "folds": folds,
    }
