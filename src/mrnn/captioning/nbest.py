"""N-best lists of any system, as JSON lines: read, and reranked by consensus."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, ValidationError

from mrnn.captioning.consensus import (
    ConsensusOptions,
    ConsensusScores,
    TrainingCaptions,
    rerank_results,
    self_scores,
)
from mrnn.captioning.results import RerankResult
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError, printable
from mrnn.files import first_problem, read_lines
from mrnn.metrics.sentence_similarity import Measure
from mrnn.model.config import EncoderIdentity
from mrnn.model.image_encoder import ImageEncoder, encode_finite
from mrnn.retrieval.nearest import FeatureSpace, Neighbours
from mrnn.tokenizer import tokenize


class Closest(BaseModel):
    """The neighbours' caption that a hypothesis is most like."""

    model_config = ConfigDict(frozen=True)

    image: str
    caption: str
    similarity: float
    copies: int
    """How many training captions have the same words as the hypothesis; 0 if it is new."""


class Evidence(BaseModel):
    """A neighbour and its captions."""

    model_config = ConfigDict(frozen=True)

    image: str
    distance: float | None
    """None where the list came with its neighbours."""
    captions: tuple[str, ...]


class Ranked(BaseModel):
    """A hypothesis; other keys of its line are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    text: str
    consensus: RerankResult | None = None
    closest: Closest | None = None


def _with_text(hypothesis: object) -> object:
    return {"text": hypothesis} if isinstance(hypothesis, str) else hypothesis


class NBest(BaseModel):
    """The hypotheses of an image, best first; other keys of its line are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    image: str
    captions: tuple[Annotated[Ranked, BeforeValidator(_with_text)], ...]
    neighbours: tuple[str, ...] | None = None
    """Names of training images, nearest first."""
    feature: tuple[FiniteFloat, ...] | None = None
    """By the encoder of the model."""
    evidence: tuple[Evidence, ...] | None = None

    @property
    def sentences(self) -> list[list[str]]:
        """The hypotheses as lists of words."""
        return [tokenize(caption.text) for caption in self.captions]

    def ranked(self, places: Sequence[RerankResult], **more: Any) -> "NBest":  # noqa: ANN401
        """The list in a new order."""
        captions = [
            self.captions[result.rank_before - 1].model_copy(update={"consensus": result})
            for result in places
        ]
        return self.model_copy(update={"captions": tuple(captions), **more})


def read_nbest(file: Path) -> list[NBest]:
    """A line an image: what `mrnn caption --json` prints, or less. Raises DataError."""
    lists = []
    first: dict[str, int] = {}
    for number, line in read_lines(file):
        try:
            lists.append(NBest.model_validate_json(line))
        except ValidationError as error:
            raise DataError(
                f"{file}:{number}: {first_problem(error)}; expected a line such as "
                '{"image": "a.jpg", "captions": ["a dog runs", "a dog"]}'
            ) from None
        image = lists[-1].image
        if first.setdefault(image, number) != number:
            raise DataError(
                f"{file}:{number}: image {image!r} is on line {first[image]} already; "
                "expected a line an image, with all its captions"
            )
    if not lists:
        raise DataError(f"{file}: no n-best lists, so there is nothing to rank")
    return lists


def rank_by_each_other(lists: Sequence[NBest], by: Measure) -> list[NBest]:
    """Document frequencies are those of the lists; of a list alone, all n-grams weigh the same."""
    sentences = [each.sentences for each in lists]
    scores = self_scores(sentences, by, weighted=len(lists) > 1)
    places = map(rerank_results, scores, sentences)
    return [each.ranked(own) for each, own in zip(lists, places, strict=True)]


def rank_by_neighbours(
    lists: Sequence[NBest],
    captions: TrainingCaptions,
    neighbours: Sequence[Neighbours],
    options: ConsensusOptions,
    *,
    evidence: bool = False,
) -> Iterator[NBest]:
    """With `evidence`: the neighbours with their captions, and the one closest to each caption."""
    sentences = [each.sentences for each in lists]
    compared = captions.compare(sentences, neighbours, options)
    for each, own, nearest, scores in zip(lists, sentences, neighbours, compared, strict=True):
        places = rerank_results(scores.scores, own)
        if evidence:
            each = _with_closest(each, scores, captions)
            yield each.ranked(places, evidence=_evidence(nearest, captions))
        else:
            yield each.ranked(places)


def _evidence(nearest: Neighbours, captions: TrainingCaptions) -> tuple[Evidence, ...]:
    images = [captions.images[place] for place in nearest.places]
    distances = [None] * len(images) if nearest.distances is None else nearest.distances.tolist()
    return tuple(
        Evidence(image=image.name, distance=distance, captions=image.captions)
        for image, distance in zip(images, distances, strict=True)
    )


def _with_closest(each: NBest, scores: ConsensusScores, captions: TrainingCaptions) -> NBest:
    found = []
    for place, caption in enumerate(each.captions):
        row = int(scores.closest[place])
        if row < 0:
            found.append(caption)
            continue
        image, text = captions.captions[row]
        closest = Closest(
            image=image.name,
            caption=text,
            similarity=float(scores.similarity[place]),
            copies=captions.copies(tokenize(caption.text)),
        )
        found.append(caption.model_copy(update={"closest": closest}))
    return each.model_copy(update={"captions": tuple(found)})


def find_neighbours(
    lists: Sequence[NBest],
    captions: TrainingCaptions,
    count: int,
    search: tuple[FeatureSpace, Callable[[NBest], np.ndarray]] | None,
) -> list[Neighbours]:
    """Those that a list names, or else the nearest to its feature; never the image itself.

    `search` has the feature space and the features of lists; it is needed if a list names no
    neighbours.
    A list without hypotheses has none. Raises DataError.
    """
    nothing = Neighbours(np.arange(0), None)
    found = [
        nothing if each.neighbours is None else _named(each, captions, count) for each in lists
    ]
    asked = [i for i, each in enumerate(lists) if each.neighbours is None and each.captions]
    if search is None or not asked:
        return found
    space, feature_of = search
    features = []
    for i in asked:
        features.append(feature_of(lists[i]))
        try:
            space.check(len(features[-1]))
        except DataError as error:
            raise DataError(f"{lists[i].image}: {error}") from error
    for i, nearest in zip(asked, space.nearest(np.stack(features), count), strict=True):
        found[i] = nearest
    return found


def _named(each: NBest, captions: TrainingCaptions, count: int) -> Neighbours:
    names = [name for name in each.neighbours or () if name != each.image]
    for name in names:
        if name not in captions.places:
            raise DataError(
                f"{each.image}: its neighbour {name!r} is not in the train split; "
                "expected names as in captions.jsonl"
            )
    places = [captions.places[name] for name in names[:count]]
    return Neighbours(np.array(places, dtype=np.int64), None)


@dataclass
class PhotoFeatures:
    """Features of images: their own, the dataset's, or of the photo at their path."""

    dataset: Dataset
    identity: EncoderIdentity
    load_encoder: Callable[[], ImageEncoder]
    """Loads the encoder, if a photo must be encoded."""

    def __post_init__(self) -> None:
        self._features = load_features(self.dataset, self.identity)
        self._names = {str(image.path.resolve()): image.name for image in self.dataset.images}
        self._encoder: ImageEncoder | None = None

    def __call__(self, each: NBest) -> np.ndarray:
        """Raises DataError where there is none."""
        if each.feature is not None:
            return np.array(each.feature, dtype=np.float32)
        name = each.image
        with suppress(ValueError):  # a null character is in no path
            name = self._names.get(str(Path(name).resolve()), name)
        if name in self._features.rows:
            row = self._features.rows[name]
            return np.asarray(self._features[np.array([row])][0])
        self._encoder = self._encoder or self.load_encoder()
        try:
            photo = load_image(each.image, least_side=self.identity.least_side)
        except ImageError as error:
            raise DataError(
                f"{error}; and it is not in {self.dataset.folder}. Give its line a feature or "
                "neighbours, or a path that leads to the photo"
            ) from error
        return encode_finite(self._encoder, self._encoder.preprocess(photo), printable(each.image))
