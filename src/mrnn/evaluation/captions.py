"""All measures of captions against references: of a corpus and of each image, with intervals.

Letters: N images, R sets of images, K measures.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.errors import DataError, MeasureError
from mrnn.evaluation.settings import Setting, settings_of
from mrnn.metrics.bleu import bleu, ngram_match_counts
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals
from mrnn.metrics.cider import DocumentFrequencies, ngram_ciders
from mrnn.metrics.inventions import invention_counts, invention_figures
from mrnn.metrics.meteor import Meteor, meteor
from mrnn.metrics.ngrams import NGrams, Words, check_pairs
from mrnn.metrics.rouge import rouge_l
from mrnn.shapes import Float, Int
from mrnn.tokenizer import tokenize

RESAMPLES = 1000
MEASURES = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "cider_plain": "CIDEr",
    "invented": "invented",
    "invented_person_or_dog": "person/dog",
    "things_recall": "things",
}
"""The measures by their keys in JSON, and what people call them."""
LOWER_IS_BETTER = frozenset({"invented", "invented_person_or_dog"})

Interval = tuple[float, float]
"""The middle 95 % of what a figure is on resampled images."""


class GenerationScores(BaseModel):
    """How near captions are to the references, words by `mrnn.tokenizer`."""

    model_config = ConfigDict(frozen=True)

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    meteor: float | None = None
    """METEOR 1.5; None if it was not asked for or could not run; then a note says why."""
    rouge_l: float
    cider: float
    """CIDEr-D."""
    cider_plain: float
    """CIDEr without clipping and without a penalty on length."""
    invented: float
    """Of the things that captions name, the fraction that no reference of the image names."""
    invented_person_or_dog: int
    """Captions that name a person or a dog that no reference names."""
    things_recall: float
    """Of the things that two references name, or the only one, the fraction that captions name."""
    distinct: float
    """Fraction of different captions: near 0 where every photo gets the same."""
    novel: float | None = None
    """Fraction of captions that are not in the training captions; None without these."""


class ScoreReport(BaseModel):
    """Scores of captions, with intervals and settings."""

    model_config = ConfigDict(frozen=True)

    generation: GenerationScores
    settings: dict[str, Setting]
    intervals: dict[str, Interval]
    """Of most measures in `generation`."""
    notes: list[str]
    """Notes: what is null, left out or odd, and why."""


@dataclass(frozen=True)
class CaptionStatistics:
    """What each image adds to the measures: enough to score any set of the images."""

    bleu: Int[np.ndarray, "N 10"]
    rouge_l: Float[np.ndarray, " N"]
    cider: Float[np.ndarray, " N"]
    cider_plain: Float[np.ndarray, " N"]
    inventions: Int[np.ndarray, "N 5"]
    meteor: Float[np.ndarray, "N 23"] | None = None

    @classmethod
    def of(
        cls,
        hypotheses: Sequence[Words],
        references: Sequence[Sequence[Words]],
        *,
        frequencies: DocumentFrequencies | None = None,
        meteor: Float[np.ndarray, "N 23"] | None = None,
    ) -> "CaptionStatistics":
        """`frequencies` are for CIDEr, by default those of these references."""
        ngrams = NGrams.of(hypotheses, references)
        ciders = ngram_ciders(ngrams, frequencies)
        inventions = invention_counts(hypotheses, references)
        rouges = rouge_l(hypotheses, references)
        return cls(ngram_match_counts(ngrams), rouges, *ciders, inventions, meteor)

    @property
    def measures(self) -> list[str]:
        """Keys of the measures, in the order of the columns below."""
        return [key for key in MEASURES if key != "meteor" or self.meteor is not None]

    def of_sets(self, weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R K"]:
        """Scores of sets of images, given how often each image is in them."""
        means = np.stack([self.rouge_l, self.cider, self.cider_plain], axis=1)
        parts = [bleu(weights @ self.bleu)]
        if self.meteor is not None:
            parts.append(meteor(weights @ self.meteor)[:, None])
        parts.append(weights @ means / weights.sum(axis=1, keepdims=True))
        parts.append(invention_figures(weights @ self.inventions))
        return np.concatenate(parts, axis=1)

    def of_corpus(self) -> dict[str, float]:
        """Scores of all images together."""
        (scores,) = self.of_sets(np.ones((1, len(self.bleu)))).tolist()
        return dict(zip(self.measures, scores, strict=True))

    def of_images(self) -> dict[str, Float[np.ndarray, " N"]]:
        """Scores of each image by itself."""
        columns = [*bleu(self.bleu).T]
        if self.meteor is not None:
            columns.append(meteor(self.meteor))
        inventions = invention_figures(self.inventions).T
        columns += [self.rouge_l, self.cider, self.cider_plain, *inventions]
        return dict(zip(self.measures, columns, strict=True))

    def intervals(self, resamples: int, seed: int) -> dict[str, Interval]:
        """For each measure, how far it may be off; document frequencies stay as they are."""
        values = bootstrap(self.of_sets, len(self.bleu), resamples=resamples, seed=seed)
        return intervals_of(self.measures, values)


def score_generation(
    generated: Sequence[Words], references: Sequence[Sequence[Words]]
) -> GenerationScores:
    """The scores that take no Java, without intervals."""
    return scores_of(CaptionStatistics.of(generated, references), generated)


def scores_of(
    statistics: CaptionStatistics,
    hypotheses: Sequence[Words],
    training: Iterable[Words] | None = None,
) -> GenerationScores:
    """The scores of the hypotheses that the statistics are of; `training` captions are not new."""
    captions = [tuple(words) for words in hypotheses]
    distinct = len(set(captions)) / len(captions)
    fractions: dict[str, float | None] = {"distinct": distinct, "novel": None}
    if training is not None:
        known = {tuple(words) for words in training}
        fractions["novel"] = sum(words not in known for words in captions) / len(captions)
    return GenerationScores.model_validate({**statistics.of_corpus(), **fractions})


def measure(
    systems: Sequence[Sequence[Words]],
    references: Sequence[Sequence[Words]],
    *,
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
) -> tuple[list[CaptionStatistics], list[str]]:
    """Statistics of the hypotheses of each system, and notes on what is odd in the scores."""
    notes = []
    meteors: list[Float[np.ndarray, "N 23"] | None] = [None] * len(systems)
    if with_meteor:
        try:
            with closing(Meteor()) as program:
                meteors = [program.statistics(system, references) for system in systems]
        except MeasureError as error:
            notes.append(f"meteor: {error}")
    else:
        notes.append("meteor: not asked for")
    if frequencies is None and len(references) == 1:
        notes.append(
            "cider: 0 on one image by itself, whatever the caption, as every n-gram is then in all "
            "images; give document frequencies of more (--frequencies)"
        )
    if empty := sum(not words for system in systems for words in system):
        notes.append(f"captions without a word, which score 0: {empty:,}")
    statistics = [
        CaptionStatistics.of(system, references, frequencies=frequencies, meteor=rows)
        for system, rows in zip(systems, meteors, strict=True)
    ]
    return statistics, notes


def score(
    hypotheses: Sequence[Words],
    references: Sequence[Sequence[Words]],
    *,
    training: Iterable[Words] | None = None,
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[ScoreReport, CaptionStatistics]:
    """All measures of captions. METEOR is None where there is no Java for it.

    With the captions of `training`, also how many are none of those.
    """
    (statistics,), notes = measure(
        [hypotheses], references, frequencies=frequencies, with_meteor=with_meteor
    )
    report = ScoreReport(
        generation=scores_of(statistics, hypotheses, training),
        settings=settings_of(references, frequencies, resamples, seed),
        intervals=statistics.intervals(resamples, seed),
        notes=notes,
    )
    return report, statistics


def score_captions(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    frequencies: DocumentFrequencies | None = None,
    with_meteor: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ScoreReport:
    """BLEU, METEOR, ROUGE-L, CIDEr and inventions of captions, one an image, all as text.

    METEOR is None where there is no Java for it. Raises DataError for no captions, and where not
    each has a list of one reference or more.
    """
    if not hypotheses:
        raise DataError("There are no captions to score")
    if isinstance(hypotheses, str) or any(isinstance(texts, str) for texts in references):
        raise DataError(
            "A text where a list was expected; give a list of captions, and for each a list of "
            "references"
        )
    check_pairs(hypotheses, references)
    check_texts(chain(hypotheses, *references))
    words = [[tokenize(text) for text in texts] for texts in references]
    report, _ = score(
        [tokenize(text) for text in hypotheses], words,
        frequencies=frequencies, with_meteor=with_meteor, resamples=resamples, seed=seed,
    )  # fmt: skip
    return report


def decimals_of(key: str) -> int:
    """How many decimals of a measure to show; a count has none."""
    return 0 if key == "invented_person_or_dog" else 3


def intervals_of(measures: list[str], values: Float[np.ndarray, "R K"]) -> dict[str, Interval]:
    """The interval of each measure, from its values on many sets of images."""
    rows = percentile_intervals(values).tolist()
    return {key: (low, high) for key, (low, high) in zip(measures, rows, strict=True)}


def check_texts(texts: Iterable[object]) -> None:
    """Raises DataError for a caption that is no text."""
    for text in texts:
        if not isinstance(text, str):
            raise DataError(f"A caption is no text but {text!r:.60}; leave it out")
