"""How far probabilities can be trusted: calibration, and rank correlation with a score.

Letters: N probabilities or values.
Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
"""

import numpy as np

from mrnn.shapes import Bool, Float

BINS = 10


def expected_calibration_error(
    probabilities: Float[np.ndarray, " N"], outcomes: Bool[np.ndarray, " N"], bins: int = BINS
) -> float:
    """How far probabilities are from the frequency of what they predict, 0 to 1; 0 of none.

    Bins hold equally many, or one more, by rising probability; of equals the earlier comes first.
    The error is the mean over bins, by their sizes, of |mean probability - frequency|.
    """
    order = np.argsort(probabilities, kind="stable")
    excess = (probabilities - outcomes)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(excess, bins))) / max(len(order), 1)


def spearman(one: Float[np.ndarray, " N"], other: Float[np.ndarray, " N"]) -> float:
    """Spearman's rank correlation, -1 to 1, of one pair or more; 0 if all of one are equal.

    Equals share their mean rank.
    """
    ranks = [_ranks(one), _ranks(other)]
    left, right = (each - each.mean() for each in ranks)
    norm = np.sqrt((left @ left) * (right @ right))
    return float(left @ right / norm) if norm else 0.0


def _ranks(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place], dtype=np.float64)
