"""Two systems on the same images: by how much one is better, how sure that is, and where.

Letters: R sets of images, N images, K measures.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.evaluation.captions import (
    LOWER_IS_BETTER,
    RESAMPLES,
    CaptionStatistics,
    Interval,
    intervals_of,
    measure,
)
from mrnn.evaluation.settings import Setting, settings_of
from mrnn.metrics.bootstrap import bootstrap
from mrnn.metrics.cider import DocumentFrequencies
from mrnn.shapes import Float
from mrnn.tokenizer import tokenize

TOP = 5


class Difference(BaseModel):
    """One measure of both systems."""

    model_config = ConfigDict(frozen=True)

    a: float
    b: float
    difference: float
    """a - b."""
    interval: Interval
    """Of the difference, where both are measured on the same resampled images."""
    wins_a: int
    """Images on which a is better; on the rest, b is, or they are equal."""
    wins_b: int


class Win(BaseModel):
    """An image on which one system does better, by CIDEr-D."""

    model_config = ConfigDict(frozen=True)

    image: str
    a: str
    b: str
    cider_a: float
    cider_b: float


class ComparisonReport(BaseModel):
    """Systems a and b beside each other."""

    model_config = ConfigDict(frozen=True)

    differences: dict[str, Difference | None]
    """By measure; None with a note where it could not run."""
    wins_a: tuple[Win, ...]
    """The images on which a is most ahead, the furthest first."""
    wins_b: tuple[Win, ...]
    settings: dict[str, Setting]
    notes: list[str]


def compare(
    images: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
    top: int = TOP,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparisonReport:
    """Captions a and b of the same images, as text. Raises DataError for no references."""
    words = [[tokenize(text) for text in texts] for texts in references]
    systems = [[tokenize(text) for text in texts] for texts in (a, b)]
    (first, second), notes = measure(
        systems, words, frequencies=frequencies, with_meteor=with_meteor
    )
    ahead = first.cider - second.cider
    wins = [
        Win(image=images[i], a=a[i], b=b[i], cider_a=first.cider[i], cider_b=second.cider[i])
        for i in range(len(images))
    ]
    differences = differences_of(first, second, resamples, seed)
    return ComparisonReport(
        differences={"meteor": None, **differences},
        wins_a=tuple(wins[i] for i in np.argsort(-ahead, kind="stable")[:top] if ahead[i] > 0),
        wins_b=tuple(wins[i] for i in np.argsort(ahead, kind="stable")[:top] if ahead[i] < 0),
        settings=settings_of(words, frequencies, resamples, seed),
        notes=notes,
    )


def differences_of(
    a: CaptionStatistics, b: CaptionStatistics, resamples: int, seed: int
) -> dict[str, Difference]:
    """By how much a is above b in each measure."""

    def differences(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R K"]:
        return np.asarray(a.of_sets(weights) - b.of_sets(weights))

    values = bootstrap(differences, len(a.bleu), resamples=resamples, seed=seed)
    intervals = intervals_of(a.measures, values)
    corpus, images = (a.of_corpus(), b.of_corpus()), (a.of_images(), b.of_images())
    ahead = {
        key: (images[1][key] - images[0][key]) * (1 if key in LOWER_IS_BETTER else -1)
        for key in a.measures
    }
    return {
        key: Difference(
            a=corpus[0][key],
            b=corpus[1][key],
            difference=corpus[0][key] - corpus[1][key],
            interval=intervals[key],
            wins_a=int((ahead[key] > 0).sum()),
            wins_b=int((ahead[key] < 0).sum()),
        )
        for key in a.measures
    }


def better_of(key: str, found: Difference) -> Literal["A", "B"] | None:
    """Which system is better in a measure; None where the images do not show it."""
    low, high = found.interval
    if low <= 0 <= high:
        return None
    return "A" if (found.difference > 0) != (key in LOWER_IS_BETTER) else "B"
