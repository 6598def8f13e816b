"""Predicted things: how likely the captions that people give a photo name a dog, a boat, a person.

One logistic regression a thing on the photo's feature. A caption that names things that people are
unlikely to name invents them: `expected_inventions` counts them before any reference is seen.

Letters: N images, F image feature, T things, P phrases, S sentences.
Source: visual words detected before the language model, as in Fang et al., "From Captions to Visual
Concepts and Back", CVPR 2015; things and inventions as in `mrnn.metrics.inventions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from mrnn.metrics.inventions import Phrases, by_first_word, named_by_phrases
from mrnn.model.joint_embedding import TokenIds
from mrnn.model.power_normalization import power_normalize
from mrnn.shapes import Float, Float32, Float64, Int32

PADDING = -1
"""Fills up the token ids of phrases that are shorter than the longest."""
NOTHING = -1
"""The thing of phrases that name none, as "couple of"; they hide the words in them."""
NEUTRAL = 3 / 4
"""Naming a thing of this probability neither speaks for a sentence nor against it."""


@dataclass(frozen=True)
class ThingPredictor:
    """Fitted regressions; see `mrnn.training.thing_predictor`."""

    weight: Float32[np.ndarray, "T F"]
    """On power-normalized features."""
    bias: Float32[np.ndarray, " T"]
    feature_mean: Float32[np.ndarray, " F"]
    phrase_ids: Int32[np.ndarray, "P _"]
    """Token ids of the words that name things, filled up with `PADDING`."""
    phrase_thing: Int32[np.ndarray, " P"]
    """The thing of each, or `NOTHING`."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All fields by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def probabilities(self, features: Float[np.ndarray, "N F"]) -> Float64[np.ndarray, "N T"]:
        """That people name each thing."""
        normalized = power_normalize(features.astype(np.float32)) - self.feature_mean
        logits = (normalized @ self.weight.T + self.bias).astype(np.float64)
        return np.asarray(np.exp(-np.logaddexp(0, -logits)))

    def named(self, sentence: TokenIds) -> frozenset[int]:
        """The things that a sentence names, read from the left; the longest phrase wins."""
        return frozenset(named_by_phrases(tuple(sentence), self._phrases) - {NOTHING})

    def expected_inventions(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " S"]]:
        """Of each photo's own sentences: how many things they name that people would not."""
        return self._sums(sentences, 1 - self.probabilities(features))

    def support(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " S"]]:
        """Of each photo's own sentences: P(thing) - `NEUTRAL`, summed over the things they name."""
        return self._sums(sentences, self.probabilities(features) - NEUTRAL)

    def _sums(
        self, sentences: Sequence[Sequence[TokenIds]], values: Float64[np.ndarray, "N T"]
    ) -> list[Float64[np.ndarray, " S"]]:
        """Of each photo's own sentences: the values of the things they name, summed."""
        return [
            np.array([of_photo[list(self.named(each))].sum() for each in own])
            for own, of_photo in zip(sentences, values, strict=True)
        ]

    @cached_property
    def _phrases(self) -> Phrases[int, int]:
        pairs = zip(self.phrase_ids.tolist(), self.phrase_thing.tolist(), strict=True)
        return by_first_word(
            (tuple(word for word in ids if word != PADDING), thing) for ids, thing in pairs
        )
