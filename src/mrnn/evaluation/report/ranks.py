"""How well a model retrieves the photos and sentences of a split, as a report tells it.

Letters: N images, F image feature.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from mrnn.data.dataset import CaptionedImage
from mrnn.evaluation.captions import Interval, Setting
from mrnn.evaluation.evaluate import references_of
from mrnn.evaluation.retrieval import RetrievalScores, evaluate_retrieval, retrieval_settings
from mrnn.metrics.recall import image_to_sentence_ranks, sentence_to_image_ranks
from mrnn.retrieval.ranking import NEAREST, Ranker, rank_fast
from mrnn.shapes import Float16
from mrnn.tokenizer import EncodedCaptions


class Ranks(BaseModel):
    """Where what belongs together is found among all photos and sentences of the split, from 1."""

    model_config = ConfigDict(frozen=True)

    sentence: int
    """For the photo: the first of its sentences among all."""
    photos: tuple[int, ...]
    """For each of its sentences: the photo among all."""


@dataclass(frozen=True)
class Retrieval:
    """All images of a split, and all their sentences, ranked for each other."""

    scores: RetrievalScores
    intervals: dict[str, Interval]
    """As those of `evaluate_retrieval`."""
    settings: dict[str, Setting]
    ranks: tuple[Ranks, ...]
    """Of each image."""


def rank_split(
    ranker: Ranker,
    images: Sequence[CaptionedImage],
    features: Float16[np.ndarray, "N F"],
    precision: torch.dtype = torch.float32,
) -> Retrieval:
    """By `rank_fast`, once, for the figures and for the ranks of each image."""
    captions = EncodedCaptions.of(references_of(images), ranker.checkpoint.vocabulary)
    marginals = ranker.near_marginals(captions.sentences, precision=precision)
    rankings = rank_fast(ranker, captions.sentences, features, marginals, precision)
    rows = captions.image_rows
    first = image_to_sentence_ranks(rankings.image_to_sentence, rows)
    photos = sentence_to_image_ranks(rankings.sentence_to_image, rows)
    scores, intervals = evaluate_retrieval(lambda *_: rankings, captions, features)
    settings = retrieval_settings(
        exact=False,
        marginal_images=min(NEAREST, len(ranker.sampled)),
        images=len(images),
        sentences=len(captions),
        precision=precision,
    )
    ranks = tuple(
        Ranks(sentence=int(rank), photos=tuple(photos[rows == row].tolist()))
        for row, rank in enumerate(first)
    )
    return Retrieval(scores, intervals, settings, ranks)
