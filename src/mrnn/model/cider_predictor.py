"""Predicted CIDEr-D: what a caption would score against the captions that people give its photo.

CIDEr is the mean cosine of a caption with the photo's references, as vectors of n-grams weighted by
their IDF. The mean of the references' vectors is predicted from the photo's feature by reduced-rank
ridge regression on the train split; its product with a caption's vector is the predicted CIDEr. So
a model needs no captions of similar photos at hand.

CIDEr-D clips repeated n-grams and penalizes lengths other than the references'. So an n-gram counts
once here, as in nearly all references, and the length penalty is its mean over the captions of
train.

Letters: N images, F image feature, S sentences, G n-grams, D directions, L lengths, X n-grams of
sentences, K n-grams of one length.
Sources: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015; Izenman,
"Reduced-rank regression for the multivariate linear model", 1975.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from mrnn.metrics.ngrams import LONGEST
from mrnn.model.joint_embedding import TokenIds
from mrnn.model.power_normalization import power_normalize
from mrnn.shapes import Float, Float32, Float64, Int32, Int64

PADDING = -1
"""Fills up the token ids of n-grams that are shorter than the longest."""
ABSENT = -1
WORD_BITS = 32
"""Bits of an n-gram's key that hold its last word; the others number the words before it."""


class _Level(NamedTuple):
    """The kept n-grams of one length, and prefixes of longer ones."""

    keys: Int64[np.ndarray, " K"]
    """Ascending: an n-gram's number is its place here."""
    rows: Int64[np.ndarray, " K"]
    """The row of each among the kept n-grams; `ABSENT` for one that is only a prefix."""


class _Vectors(NamedTuple):
    """The CIDEr vectors of sentences, of the kept n-grams alone, as a sparse matrix."""

    sentence: Int64[np.ndarray, " X"]
    row: Int64[np.ndarray, " X"]
    weight: Float64[np.ndarray, " X"]


@dataclass(frozen=True)
class CiderPredictor:
    """A fitted regression; see `mrnn.training.cider_predictor`."""

    token_ids: Int32[np.ndarray, "G 4"]
    """Of each kept n-gram, filled up with `PADDING`; no two are the same."""
    idf: Float32[np.ndarray, " G"]
    """The natural logarithm of images over images whose captions have the n-gram."""
    max_idf: Float32[np.ndarray, " 1"]
    """The IDF of all other n-grams, which count in the length of a sentence's vector alone."""
    ngram_weight: Float32[np.ndarray, "G D"]
    ngram_bias: Float32[np.ndarray, " G"]
    """The prediction for a photo with the mean feature."""
    image_weight: Float32[np.ndarray, "D F"]
    feature_mean: Float32[np.ndarray, " F"]
    """Of power-normalized features."""
    length_penalty: Float32[np.ndarray, " L"]
    """The factor for a sentence of each length in words; the last is for any longer one."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All fields by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def embed_image(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N D"]:
        """The coordinates of photos along the directions of the regression."""
        normalized = power_normalize(features.astype(np.float32))
        return np.asarray((normalized - self.feature_mean) @ self.image_weight.T)

    def score(
        self, sentences: Sequence[Sequence[TokenIds]], features: Float[np.ndarray, "N F"]
    ) -> list[Float64[np.ndarray, " _"]]:
        """The predicted CIDEr-D, near 0..10, of each photo's own sentences.

        A photo's scores do not depend on the other photos.
        """
        return [
            self._score(own, self.embed_image(feature[None])[0])
            for own, feature in zip(sentences, features, strict=True)
        ]

    def _score(
        self, sentences: Sequence[TokenIds], image: Float32[np.ndarray, " D"]
    ) -> Float64[np.ndarray, " S"]:
        """For one photo: only the n-grams that its sentences have are predicted."""
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        vectors = self._vectors(sentences, lengths)
        rows, place = np.unique(vectors.row, return_inverse=True)
        predicted = self.ngram_weight[rows] @ image + self.ngram_bias[rows]
        products = vectors.weight * predicted[place]
        totals = np.bincount(vectors.sentence, products, minlength=len(sentences))
        longest = len(self.length_penalty) - 1
        return np.asarray(totals * self.length_penalty[np.minimum(lengths, longest)])

    def _vectors(self, sentences: Sequence[TokenIds], lengths: Int64[np.ndarray, " S"]) -> _Vectors:
        """N-grams of each length are scaled to unit length together; then each n-gram counts once.

        An n-gram's key is the number of all its words but the last, and the last word. So numbers
        never overflow, however large the vocabulary. Each sentence numbers its own n-grams
        (`prefix`); `kept` are their numbers in `_levels`.
        """
        words = np.fromiter(chain.from_iterable(sentences), np.int64, lengths.sum())
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))
        prefix = np.repeat(np.arange(len(lengths)), lengths)
        owner, kept = np.arange(len(lengths)), np.zeros(len(lengths), np.int64)
        found = []
        for n, level in enumerate(self._levels):
            place = np.flatnonzero(left > n)
            keys = prefix[place] << WORD_BITS | words[place + n]
            own, prefix[place], counts = np.unique(keys, return_inverse=True, return_counts=True)
            before, last = own >> WORD_BITS, own & (1 << WORD_BITS) - 1
            owner, kept = owner[before], _numbers(level.keys, kept[before] << WORD_BITS | last)
            row = np.where(kept == ABSENT, ABSENT, level.rows[kept])
            idf = np.where(row == ABSENT, self.max_idf, self.idf[row]).astype(np.float64)
            norms = np.sqrt(np.bincount(owner, (counts * idf) ** 2, minlength=len(lengths)))
            some = np.flatnonzero((row != ABSENT) & (idf != 0))
            found.append(_Vectors(owner[some], row[some], idf[some] / norms[owner[some]]))
        return _Vectors(*map(np.concatenate, zip(*found, strict=True)))

    @cached_property
    def _levels(self) -> list[_Level]:
        """The kept n-grams of one word, of two, and so on, as long as there are any."""
        ids = self.token_ids.astype(np.int64)
        ids = np.pad(ids, ((0, 0), (0, 1)), constant_values=PADDING)
        rows, numbers = np.arange(len(ids)), np.zeros(len(ids), np.int64)
        levels = []
        for n in range(LONGEST):
            rows = rows[ids[rows, n] != PADDING]
            if not len(rows):
                break
            keys, numbers[rows] = np.unique(
                numbers[rows] << WORD_BITS | ids[rows, n], return_inverse=True
            )
            whole = rows[ids[rows, n + 1] == PADDING]
            levels.append(_Level(keys, np.full(len(keys), ABSENT)))
            levels[-1].rows[numbers[whole]] = whole
        return levels


def _numbers(
    keys: Int64[np.ndarray, " K"], wanted: Int64[np.ndarray, " X"]
) -> Int64[np.ndarray, " X"]:
    """The place of each wanted key among ascending ones, or `ABSENT`."""
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, places, ABSENT)
