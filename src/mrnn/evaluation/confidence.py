"""How far the confidence in captions can be trusted, against people's captions.

Letters: N photos, F image feature.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.results import Caption
from mrnn.evaluation.captions import Interval
from mrnn.metrics.bootstrap import bootstrap, percentile_intervals
from mrnn.metrics.calibration import BINS, expected_calibration_error, spearman
from mrnn.model.confidence import RIGHT
from mrnn.shapes import Float

IMAGES_AT_ONCE = 100
DEPENDS_ON = f"right from CIDEr-D {RIGHT:g}; {BINS} bins of equal count; Spearman's correlation"


class ConfidenceScores(BaseModel):
    """Figures of the confidence in captions of a split."""

    model_config = ConfigDict(frozen=True)

    right: float
    """Fraction of captions whose CIDEr-D is `RIGHT` or more."""
    mean: float
    """Mean confidence: this fraction, if it can be trusted."""
    expected_calibration_error: float
    cider_correlation: float
    """Spearman's rank correlation of confidence with the CIDEr-D of each caption."""
    familiarity_correlation: float
    """The same of familiarity."""


def measure_confidence(
    captioner: Captioner,
    captions: Sequence[Caption],
    features: Float[np.ndarray, "N F"],
    ciders: Float[np.ndarray, " N"],
    *,
    resamples: int,
    seed: int,
) -> tuple[ConfidenceScores, dict[str, Interval]]:
    """Figures of the captions of photos, and intervals of the correlations."""
    found, familiar = [], []
    for start in range(0, len(captions), IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        block = features[part].astype(np.float32)
        found += captioner.confidence(captions[part], block)
        familiar += captioner.checkpoint.familiarity.score(block).tolist()
    confidence, familiarity = np.array(found, dtype=np.float64), np.array(familiar)
    right = ciders >= RIGHT
    scores = ConfidenceScores(
        right=float(right.mean()),
        mean=float(confidence.mean()),
        expected_calibration_error=expected_calibration_error(confidence, right),
        cider_correlation=spearman(confidence, ciders),
        familiarity_correlation=spearman(familiarity, ciders),
    )

    def correlations(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R 2"]:
        sets = [np.repeat(np.arange(len(ciders)), row.astype(int)) for row in weights]
        return np.array(
            [[spearman(each[rows], ciders[rows]) for each in (confidence, familiarity)]
             for rows in sets]
        )  # fmt: skip

    values = bootstrap(correlations, len(ciders), resamples=resamples, seed=seed)
    keys = ("confidence.cider_correlation", "confidence.familiarity_correlation")
    rows = percentile_intervals(values).tolist()
    return scores, {key: (low, high) for key, (low, high) in zip(keys, rows, strict=True)}
