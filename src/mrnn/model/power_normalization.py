"""Power normalization of image features: a few strong values no longer hide the many weak ones.

Used by every linear model on features: joint embedding, CIDEr predictor and familiarity.

Letters: N images, F image feature.
Source: Perronnin, Sánchez and Mensink, "Improving the Fisher Kernel for Large-Scale Image
Classification", ECCV 2010, section 4.
"""

import numpy as np

from mrnn.shapes import Float

SMALLEST = 1e-12
"""The least length that a vector is divided by, so that zeros stay zeros."""


def power_normalize(features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
    """Square roots with the sign of their values, scaled to unit length."""
    return unit_length(np.sign(features) * np.sqrt(np.abs(features)))


def unit_length(vectors: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N F"]:
    """Scaled along the last axis; zeros stay zeros."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    return np.asarray(vectors / np.maximum(lengths, SMALLEST))
