"""R@K, median and mean rank of sentence-image scores, in both directions.

Candidates with equal scores are ordered by index: the earlier one first.

Letters: S sentences, N images, Q queries, R sets of images, K figures.
Source: Hodosh et al., "Framing Image Description as a Ranking Task", JAIR 47, 2013.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrnn.errors import DataError
from mrnn.shapes import Float, Int


class RecallScores(BaseModel):
    """Figures of one direction; as JSON the recalls are `r@1`, `r@5` and `r@10`."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    r_at_1: float = Field(serialization_alias="r@1")
    """Percent of queries whose ground truth is found first."""
    r_at_5: float = Field(serialization_alias="r@5")
    r_at_10: float = Field(serialization_alias="r@10")
    median_rank: float
    """Ranks count from 1."""
    mean_rank: float


def image_to_sentence_ranks(
    scores: Float[np.ndarray, "S N"], image_of: Int[np.ndarray, " S"]
) -> Int[np.ndarray, " N"]:
    """Each image's rank, from 1, of the first of its sentences; `image_of` says whose they are.

    An image may have any number of sentences but none. Raises DataError.
    """
    _check(scores, image_of)
    order = np.argsort(image_of, kind="stable")
    ends = np.searchsorted(image_of[order], np.arange(scores.shape[1]), side="right")
    ranks, start = np.empty(scores.shape[1], dtype=np.int64), 0
    for image, end in enumerate(ends):
        column, own = scores[:, image], order[start:end]
        if not len(own):
            raise DataError(f"Image {image} has no sentence, so no rank; leave it out")
        ranks[image] = _rank(column, own[column[own].argmax()])
        start = end
    return ranks


def sentence_to_image_ranks(
    scores: Float[np.ndarray, "S N"], image_of: Int[np.ndarray, " S"]
) -> Int[np.ndarray, " S"]:
    """Each sentence's rank, from 1, of its image. Raises DataError."""
    _check(scores, image_of)
    pairs = zip(scores, image_of, strict=True)
    return np.array([_rank(row, image) for row, image in pairs], dtype=np.int64)


def recall_scores(ranks: Int[np.ndarray, " Q"]) -> RecallScores:
    """The figures of the ranks, from 1, of some queries."""
    if not len(ranks):
        raise DataError("There are no queries to rank for")
    recalls = [100 * float((ranks <= depth).mean()) for depth in (1, 5, 10)]
    return RecallScores(
        r_at_1=recalls[0], r_at_5=recalls[1], r_at_10=recalls[2],
        median_rank=float(np.median(ranks)), mean_rank=float(ranks.mean()),
    )  # fmt: skip


def recall_scores_of_sets(
    ranks: Int[np.ndarray, " Q"],
    image_of: Int[np.ndarray, " Q"],
    weights: Float[np.ndarray, "R N"],
) -> Float[np.ndarray, "R K"]:
    """The figures, in the order of `RecallScores`, of sets of images with all their queries.

    `weights` say how often each image is in a set.
    """
    values, place = np.unique(ranks, return_inverse=True)
    counts = np.stack([np.bincount(place, own[image_of], len(values)) for own in weights])
    upto = np.cumsum(counts, axis=1)  # queries of each set with at most such a rank
    total = upto[:, -1:]
    recalls = [100 * counts[:, values <= depth].sum(axis=1) for depth in (1, 5, 10)]
    # Of an even number of ranks the median is the mean of the two in the middle.
    middle = [values[(upto > (total - 1 + upper) // 2).argmax(axis=1)] for upper in (0, 1)]
    sums = [*recalls, counts @ values]
    of_each = np.stack(sums, axis=1) / total
    return np.insert(of_each, 3, np.mean(middle, axis=0), axis=1)


def folds(
    image_of: Int[np.ndarray, " S"], images: int, count: int
) -> Iterator[tuple[Int[np.ndarray, " _"], slice]]:
    """The sentences and the images of each of `count` runs of equally many images.

    COCO's "1K" figures are means over five folds of 1,000. Images that fill no fold are left out.
    """
    if not 1 <= count <= images:
        raise DataError(f"{images} images make 1 to {images} folds, not {count}")
    size = images // count
    for start in range(0, count * size, size):
        inside = (image_of >= start) & (image_of < start + size)
        yield np.flatnonzero(inside), slice(start, start + size)


def mean_scores(scores: Sequence[RecallScores]) -> RecallScores:
    """Each figure's mean over folds."""
    fields = RecallScores.model_fields
    return RecallScores(
        **{name: float(np.mean([getattr(fold, name) for fold in scores])) for name in fields}
    )


def _rank(scores: Float[np.ndarray, " C"], truth: int | np.integer) -> int:
    best = scores[truth]
    return 1 + int((scores > best).sum()) + int((scores[:truth] == best).sum())


def _check(scores: Float[np.ndarray, "S N"], image_of: Int[np.ndarray, " S"]) -> None:
    if np.isnan(scores).any():
        sentence, image = np.argwhere(np.isnan(scores))[0]
        raise DataError(f"The score of sentence {sentence} with image {image} is not a number")
    if len(image_of) and not (image_of.min() >= 0 and image_of.max() < scores.shape[1]):
        wrong = next(i for i in image_of if not 0 <= i < scores.shape[1])
        raise DataError(f"A sentence is of image {wrong}, but there are {scores.shape[1]} images")
