"""A joint embedding of sentences and photos, compared by cosine similarity.

It finds candidates for the exact likelihood with one matrix product. A sentence is the sum of its
words' vectors, a photo a linear projection of its power-normalized feature; both have unit length.
An embedding has parts that are trained apart: the mean of their cosines is more accurate than each.

Letters: S sentences, V vocabulary, N images, F image feature, D the embedding, all parts of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from mrnn.model.power_normalization import power_normalize, unit_length
from mrnn.shapes import Float, Float32, Int

TokenIds = Sequence[int] | Int[np.ndarray, " _"]
"""Of a sentence, without `<bos>` and `<eos>`."""

BLOCK = 512
"""Sentences or photos embedded at a time, to bound memory."""


@dataclass(frozen=True)
class JointEmbedding:
    """Its weights; see `mrnn.training.joint_embedding`."""

    words: Float32[np.ndarray, "V D"]
    image_weight: Float32[np.ndarray, "D F"]
    image_bias: Float32[np.ndarray, " D"]
    feature_mean: Float32[np.ndarray, " F"]
    feature_scale: Float32[np.ndarray, " F"]
    """What a power-normalized feature, less the mean, is multiplied by."""
    parts: int = 1

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by their names."""
        return {name: value for name, value in vars(self).items() if name != "parts"}

    def embed_text(self, sentences: Sequence[TokenIds]) -> Float32[np.ndarray, "S D"]:
        """The vectors of sentences; zeros for a sentence without words."""
        vectors = np.empty((len(sentences), self.words.shape[1]), np.float32)
        for start in range(0, len(sentences), BLOCK):
            block = slice(start, start + BLOCK)
            vectors[block] = self._unit_length(self._sums(sentences[block]))
        return vectors

    def embed_image(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N D"]:
        """The vectors of photos."""
        vectors = np.empty((len(features), len(self.image_weight)), np.float32)
        for start in range(0, len(features), BLOCK):
            block = slice(start, start + BLOCK)
            normalized = power_normalize(features[block].astype(np.float32))
            scaled = (normalized - self.feature_mean) * self.feature_scale
            vectors[block] = self._unit_length(scaled @ self.image_weight.T + self.image_bias)
        return vectors

    def _sums(self, sentences: Sequence[TokenIds]) -> Float32[np.ndarray, "S D"]:
        """The sum of each sentence's word vectors: a product of counts and vectors."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        words = np.fromiter(chain.from_iterable(sentences), np.int64, lengths.sum())
        different, column = np.unique(words, return_inverse=True)
        cell = np.repeat(np.arange(len(lengths)), lengths) * len(different) + column
        counts = np.bincount(cell, minlength=len(lengths) * len(different))
        table = counts.reshape(len(lengths), len(different)).astype(np.float32)
        return np.asarray(table @ self.words[different])

    def _unit_length(self, vectors: Float32[np.ndarray, "X D"]) -> Float32[np.ndarray, "X D"]:
        """Each part scaled to the same length, and all together to unit length."""
        parts = vectors.reshape(len(vectors), self.parts, -1)
        return unit_length(parts).reshape(vectors.shape) / np.float32(math.sqrt(self.parts))
