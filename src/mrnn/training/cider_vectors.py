"""CIDEr vectors of photos' captions, for what learns to predict them.

Letters: G n-grams.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from mrnn.errors import DataError
from mrnn.metrics.cider import SCALE
from mrnn.metrics.ngrams import LONGEST, ngrams
from mrnn.shapes import Float
from mrnn.tokenizer import Vocabulary
from mrnn.training.recipe import NeighbourOptions

IdNGram = tuple[int, ...]


class CiderVectors:
    """The vectors of photos of a train split: of the commonest n-grams, weighted by its IDF.

    A photo's vector is the mean of its captions'; its product with the vector of another caption is
    near the CIDEr-D of that. With `text`, captions of other photos, of which no feature is known,
    n-grams are the commonest in both, as fractions of the photos of each; and a photo's vector is
    joined with those of photos whose captions resemble its own, see `TextNeighbours`.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[Sequence[int]]],
        count: int,
        text: Sequence[Sequence[Sequence[int]]] = (),
        neighbours: NeighbourOptions | None = None,
    ) -> None:
        """Of each photo its captions; `count` n-grams. Raises DataError without a known word."""
        self._images, self._spread = len(sentences), document_frequencies(sentences)
        self.ngrams = commonest(self._fractions(text), count)
        self._rows = {ngram: row for row, ngram in enumerate(self.ngrams)}
        self._neighbours = None
        if text:
            from mrnn.training.text_neighbours import TextNeighbours  # scipy takes long to import

            self._neighbours = TextNeighbours(self._own(text), neighbours or NeighbourOptions())

    def idf(self, ngram: IdNGram) -> float:
        """The natural logarithm of images over images whose captions have the n-gram."""
        return math.log(self._images / max(self._spread[ngram], 1))

    def of(self, sentences: Sequence[Sequence[Sequence[int]]]) -> Float[Tensor, "_ G"]:
        """Of photos of the split, by their captions; sparse, in CIDEr-D's scale."""
        own = self._own(sentences)
        return self._neighbours.join(own) if self._neighbours else own

    def _fractions(self, text: Sequence[Sequence[Sequence[int]]]) -> dict[IdNGram, float]:
        """Of photos of the split and of the text, those whose captions have an n-gram."""
        theirs = document_frequencies(text, self._spread.keys())
        return {
            ngram: count / self._images + theirs[ngram] / max(len(text), 1)
            for ngram, count in self._spread.items()
        }

    def _own(self, sentences: Sequence[Sequence[Sequence[int]]]) -> Float[Tensor, "_ G"]:
        return SCALE / LONGEST * reference_vectors(sentences, self._rows, self.idf)


def document_frequencies(
    sentences: Sequence[Sequence[Sequence[int]]], among: Set[IdNGram] | None = None
) -> Counter[IdNGram]:
    """Of each n-gram, or of some: the images with a sentence that has it."""
    found = (set().union(*map(ngrams, own)) for own in sentences)
    return Counter(chain.from_iterable(found if among is None else (own & among for own in found)))


def commonest(fractions: Mapping[IdNGram, float], count: int) -> list[IdNGram]:
    """The n-grams of known words with the largest fractions."""
    known = (ngram for ngram in fractions if Vocabulary.UNK not in ngram)
    kept = sorted(known, key=lambda ngram: (-fractions[ngram], ngram))[:count]
    if not kept:
        raise DataError(
            "No train caption has a word of the vocabulary, so CIDEr cannot be predicted; "
            "look at the captions with mrnn check"
        )
    return kept


def reference_vectors(
    sentences: Sequence[Sequence[Sequence[int]]],
    rows: Mapping[IdNGram, int],
    idf: Callable[[IdNGram], float],
) -> Float[Tensor, "_ G"]:
    """The mean CIDEr vector of each image's sentences, sparse: n-grams of one length are a unit."""
    places, columns, values = array("q"), array("q"), array("d")
    for place, own in enumerate(sentences):
        for counts in map(ngrams, own):
            weights = {ngram: count * idf(ngram) for ngram, count in counts.items()}
            squares = [0.0] * (LONGEST + 1)
            for ngram, weight in weights.items():
                squares[len(ngram)] += weight**2
            for ngram, weight in weights.items():
                if weight and ngram in rows:
                    places.append(place)
                    columns.append(rows[ngram])
                    values.append(weight / math.sqrt(squares[len(ngram)]) / len(own))
    index = torch.from_numpy(np.array([places, columns], dtype=np.int64))
    numbers = torch.from_numpy(np.array(values))
    shape = (len(sentences), len(rows))
    return torch.sparse_coo_tensor(index, numbers, shape, check_invariants=True).coalesce()
