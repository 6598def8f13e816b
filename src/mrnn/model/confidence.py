"""Confidence: how likely people would call a caption right.

A logistic regression on what the heads and the network say of caption and photo. A caption is right
if its CIDEr-D against the captions that people give the photo is `RIGHT` or more.

Letters: N photos, K signals.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from mrnn.shapes import Float, Float32, Float64

RIGHT = 0.5
"""The least CIDEr-D of a right caption."""
GUESS = 1 / 3
"""Below this a caption is a guess: of three such captions less than one is right."""


class Signals(NamedTuple):
    """What is known of captions and their photos before any reference is seen."""

    predicted_cider: Float64[np.ndarray, " N"]
    """The predicted CIDEr-D: low where people say many different things of such photos."""
    similarity: Float64[np.ndarray, " N"]
    """The cosine of photo and caption in the joint embedding: low where they do not match."""
    word_log_probability: Float64[np.ndarray, " N"]
    """Mean nats a word, `<eos>` counted: low where the network was in doubt."""
    expected_inventions: Float64[np.ndarray, " N"]
    """Things that the caption names and people would not."""


@dataclass(frozen=True)
class Confidence:
    """A fitted regression; see `mrnn.training.confidence`."""

    weight: Float32[np.ndarray, " K"]
    bias: Float32[np.ndarray, " 1"]
    signal_mean: Float32[np.ndarray, " K"]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All fields by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def probabilities(self, signals: Float[np.ndarray, "N K"]) -> Float64[np.ndarray, " N"]:
        """That each caption is right; signals in the order of `Signals`."""
        logits = (signals - self.signal_mean).astype(np.float64) @ self.weight + self.bias
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))
