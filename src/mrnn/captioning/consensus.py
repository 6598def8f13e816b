"""Consensus reranking: the hypothesis most like the captions of similar photos.

Each hypothesis of a photo is compared with all captions of its nearest training photos, and scores
the mean of its highest similarities. Without training photos, each is compared with the others.

Letters: N photos, F image feature, S hypotheses of a photo, R captions that they are compared with.
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks", on reranking.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrnn.captioning.results import RerankResult
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import load_features
from mrnn.errors import CheckpointError
from mrnn.metrics.sentence_similarity import Corpus, Measure
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import Heads
from mrnn.retrieval.nearest import Distance, FeatureSpace, Neighbours
from mrnn.shapes import Float, Int

SELF = "self"
REFERENCES = {"cider": 125, "bleu": 175}
SELF_SETTINGS = ("by", "hypotheses", "model_weight")
"""The settings that take effect without training captions."""

Sentences = Sequence[Sequence[str]]
"""As lists of words."""


class ConsensusOptions(BaseModel):
    """How hypotheses are reranked by consensus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Measure = "cider"
    """CIDEr-D, with document frequencies of the training captions, or sentence BLEU."""
    neighbours: int = Field(default=60, ge=1)
    """Nearest training photos whose captions are compared with; all, if there are fewer."""
    references: int | None = Field(default=None, ge=1)
    """Of these captions, the most similar that count; by default 125 by CIDEr, 175 by BLEU."""
    features: Literal["raw", "refined", "joint"] | None = None
    """Neighbours are found by the encoder's feature, by the image's part of the multimodal layer,
    V_I I, or in the joint embedding. None: joint for a model with heads, raw for others."""
    distance: Distance = "cosine"
    hypotheses: int = Field(default=10, ge=1, le=1000)
    """Least number of hypotheses of each photo that are reranked."""
    model_weight: float = Field(default=0.5, ge=0, le=1000)
    """Weight of log-likelihood and predicted CIDEr beside consensus, if the model reranks: both
    estimate what consensus measures."""
    bleu_weight: float = Field(default=3.0, ge=0, le=1000)
    """Weight of the mean sentence BLEU beside CIDEr-D, if the model reranks with training
    captions."""

    @property
    def counted(self) -> int:
        """The number of captions that count."""
        return self.references or REFERENCES[self.by]

    def settled(self, heads: Heads | None) -> "ConsensusOptions":
        """With features chosen. Raises CheckpointError for joint ones of a model without heads."""
        if self.features == "joint" and heads is None:
            raise CheckpointError(
                "The model has no joint embedding to find neighbours in; run mrnn train-heads, or "
                "take raw features"
            )
        features = self.features or ("joint" if heads else "raw")
        return self.model_copy(update={"features": features})


@dataclass(frozen=True)
class ConsensusScores:
    """How similar a photo's hypotheses are to the captions of its neighbours."""

    scores: Float[np.ndarray, " S"]
    closest: Int[np.ndarray, " S"]
    """The most similar caption, by its place in the corpus; -1 where there is none."""
    similarity: Float[np.ndarray, " S"]
    """To that caption."""


class TrainingCaptions:
    """Captions of training photos, indexed for comparison."""

    def __init__(self, images: Sequence[CaptionedImage]) -> None:
        self.images = tuple(images)
        words = [image.words for image in images]
        self._corpus = Corpus(words)
        self.places = {image.name: place for place, image in enumerate(images)}
        """Of each image, by its name."""
        self.captions = [(image, caption) for image in images for caption in image.captions]
        """All, in the order of the corpus."""
        self._copies = Counter(tuple(sentence) for each in words for sentence in each)

    def copies(self, words: Sequence[str]) -> int:
        """How many captions have exactly these words."""
        return self._copies[tuple(words)]

    def shortage(self, options: ConsensusOptions) -> list[str]:
        """A line where more neighbours are asked for than there are photos; else none."""
        count = len(self.images)
        if count >= options.neighbours:
            return []
        return [
            f"consensus: there are {count:,} training photos, fewer than the "
            f"{options.neighbours:,} neighbours asked for, so all of them count"
        ]

    def compare(
        self,
        hypotheses: Sequence[Sentences],
        neighbours: Sequence[Neighbours],
        options: ConsensusOptions,
    ) -> Iterator[ConsensusScores]:
        """For each photo, of its hypotheses; equal ones score alike."""
        distinct = [_distinct(sentences) for sentences in hypotheses]
        rows = [self._corpus.rows_of(nearest.places.tolist()) for nearest in neighbours]
        compared = self._corpus.compare(distinct, rows, options.by)
        for sentences, own, row, matrix in zip(hypotheses, distinct, rows, compared, strict=True):
            yield _scores(matrix[_places(sentences, own)], row, options.counted)


def _scores(
    similarities: Float[np.ndarray, "S R"], rows: Int[np.ndarray, " R"], counted: int
) -> ConsensusScores:
    hypotheses, captions = similarities.shape
    if not captions:
        nothing = np.zeros(hypotheses)
        return ConsensusScores(nothing, np.full(hypotheses, -1), nothing)
    first = max(captions - counted, 0)
    highest = np.partition(similarities, first, axis=1)[:, first:]
    closest = rows[similarities.argmax(axis=1)]
    return ConsensusScores(highest.mean(axis=1), closest, similarities.max(axis=1))


def self_scores(
    hypotheses: Sequence[Sentences], by: Measure = "cider", *, weighted: bool = False
) -> list[Float[np.ndarray, " _"]]:
    """For each photo, of each hypothesis the mean similarity to the others; equal ones count once.

    CIDEr-D weighs all n-grams alike; if `weighted`, by how few photos' hypotheses have them.
    """
    distinct = [_distinct(sentences) for sentences in hypotheses]
    corpus = Corpus(distinct, weighted=weighted)
    rows = [corpus.rows_of([place]) for place in range(len(distinct))]
    scores = []
    compared = corpus.compare(distinct, rows, by)
    for sentences, own, matrix in zip(hypotheses, distinct, compared, strict=True):
        np.fill_diagonal(matrix, 0)
        means = matrix.sum(axis=1) / max(len(own) - 1, 1)
        scores.append(means[_places(sentences, own)])
    return scores


def rerank_results(scores: Float[np.ndarray, " S"], sentences: Sentences) -> list[RerankResult]:
    """Best first, those without words last; of equals, the earlier stays before the later."""
    order = sorted(range(len(scores)), key=lambda place: (not sentences[place], -scores[place]))
    return [
        RerankResult(score=float(scores[place]), rank=rank, rank_before=place + 1)
        for rank, place in enumerate(order, 1)
    ]


class Consensus:
    """Consensus of a captioner: with the captions of training photos, or among the hypotheses."""

    def __init__(
        self,
        options: ConsensusOptions | None = None,
        training: tuple[TrainingCaptions, FeatureSpace] | None = None,
        *,
        source: str = SELF,
    ) -> None:
        self.options, self.source = options or ConsensusOptions(), source
        self._training = training

    @classmethod
    def load(
        cls,
        source: str | Path,
        checkpoint: Checkpoint,
        options: ConsensusOptions | None = None,
    ) -> "Consensus":
        """Of a source: "self", or a dataset folder, whose train split is compared with.

        Raises DataError.

        Its features must be those of the checkpoint's encoder.
        """
        options = options or ConsensusOptions()
        if source == SELF:
            return cls(options)
        options = options.settled(checkpoint.heads)
        dataset = Dataset.load(Path(source))
        captions = TrainingCaptions(dataset.split("train"))
        space = feature_space(dataset, captions.images, checkpoint, options)
        return cls(options, (captions, space), source=str(source))

    def settings(self, hypotheses: int, *, reranked: bool) -> dict[str, str | int | float]:
        """The settings for a report of so many hypotheses, with reranking scores or without."""
        options = self.options.model_dump()
        options |= {"references": self.options.counted, "hypotheses": hypotheses}
        if not reranked:
            options |= {"model_weight": 0.0, "bleu_weight": 0.0}
        if self.options.by == "bleu":
            options["bleu_weight"] = 0.0
        if not self._training:
            options = {name: options[name] for name in SELF_SETTINGS}
        return {"consensus": self.source} | {f"consensus_{key}": options[key] for key in options}

    @property
    def notes(self) -> list[str]:
        """Notes for people."""
        return self._training[0].shortage(self.options) if self._training else []

    def rank(
        self,
        hypotheses: Sequence[Sentences],
        features: Float[np.ndarray, "N F"],
        reranking_scores: Sequence[Float[np.ndarray, " _"]] | None = None,
    ) -> list[list[RerankResult]]:
        """For each photo its hypotheses, best first; each photo is ranked by itself.

        Reranking scores are added to those of consensus; sentence BLEU then counts beside CIDEr-D.
        """
        if self._training is None:
            # No document frequencies from the batch, which would make it matter.
            scores = [self_scores([each], self.options.by)[0] for each in hypotheses]
        else:
            captions, space = self._training
            neighbours = space.nearest(features, self.options.neighbours)
            scores = _agreed(captions, hypotheses, neighbours, self.options)
            with_bleu = self.options.by == "cider" and self.options.bleu_weight
            if reranking_scores is not None and with_bleu:
                by_bleu = self.options.model_copy(update={"by": "bleu"})
                others = _agreed(captions, hypotheses, neighbours, by_bleu)
                weight = self.options.bleu_weight
                scores = [a + weight * b for a, b in zip(scores, others, strict=True)]
        if reranking_scores is not None:
            scores = [a + b for a, b in zip(scores, reranking_scores, strict=True)]
        return list(map(rerank_results, scores, hypotheses))


def _agreed(
    captions: TrainingCaptions,
    hypotheses: Sequence[Sentences],
    neighbours: Sequence[Neighbours],
    options: ConsensusOptions,
) -> list[Float[np.ndarray, " S"]]:
    return [found.scores for found in captions.compare(hypotheses, neighbours, options)]


def feature_space(
    dataset: Dataset,
    images: Sequence[CaptionedImage],
    checkpoint: Checkpoint,
    options: ConsensusOptions,
) -> FeatureSpace:
    """The space of these images' features; a model without images has no refined ones."""
    heads = checkpoint.heads
    options = options.settled(heads)
    matrix = load_features(dataset, checkpoint.encoder).of(images)
    if options.features == "joint" and heads:
        return FeatureSpace(matrix, options.distance, heads.embed_image)
    if options.features == "raw" or not checkpoint.config.model.sees_image:
        return FeatureSpace(matrix, options.distance)
    return FeatureSpace(matrix, options.distance, checkpoint.network.encode_image)


def _distinct(sentences: Sentences) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(map(tuple, sentences)))


def _places(sentences: Sentences, distinct: Sequence[tuple[str, ...]]) -> list[int]:
    return [distinct.index(tuple(words)) for words in sentences]
