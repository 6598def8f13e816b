"""Similarity of all pairs of sentences at once: CIDEr-D or sentence BLEU.

Clipped counts become matrix products: min(h, r) is how many c from 1 have h >= c and r >= c.

Letters: H sentences, R sentences that they are compared with, U n-grams of the H, S all sentences
of a corpus, G its n-grams, X entries (an n-gram in a sentence).
Sources: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015; Mao et
al., "Deep Captioning with Multimodal Recurrent Neural Networks", ICLR 2015, on reranking.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, pairwise
from typing import Literal

import numpy as np

from mrnn.metrics.cider import SCALE, SIGMA
from mrnn.metrics.ngrams import LONGEST, ngrams
from mrnn.shapes import Float, Int

Measure = Literal["cider", "bleu"]


@dataclass(frozen=True)
class _Counted:
    """Sentences as their n-grams; the entries of sentence s are `starts[s]` to `starts[s + 1]`."""

    starts: Int[np.ndarray, " _"]
    ids: Int[np.ndarray, " X"]
    orders: Int[np.ndarray, " X"]
    counts: Float[np.ndarray, " X"]
    lengths: Int[np.ndarray, " S"]
    """In words."""

    @classmethod
    def of(
        cls, sentences: Sequence[Sequence[str]], to_id: Callable[[tuple[str, ...]], int]
    ) -> "_Counted":
        starts, ids, orders, counts = array("q", [0]), array("q"), array("q"), array("d")
        for words in sentences:
            found = ngrams(words)
            ids.extend(map(to_id, found))
            orders.extend(map(len, found))
            counts.extend(found.values())
            starts.append(len(ids))
        return cls(
            np.array(starts, dtype=np.int64),
            np.array(ids, dtype=np.int64),
            np.array(orders, dtype=np.int64) - 1,
            np.array(counts),
            np.array([len(words) for words in sentences], dtype=np.int64),
        )

    def entries(
        self, rows: Int[np.ndarray, " R"]
    ) -> tuple[Int[np.ndarray, " X"], Int[np.ndarray, " X"]]:
        """Of some sentences: for each entry the place of its sentence in `rows`, and its own."""
        sizes = self.starts[rows + 1] - self.starts[rows]
        row = np.repeat(np.arange(len(rows)), sizes)
        return row, np.arange(len(row)) + (self.starts[rows + 1] - np.cumsum(sizes))[row]

    def norms(self, weights: Float[np.ndarray, " _"]) -> Float[np.ndarray, "S 4"]:
        """The length of each sentence's vector of weighted counts, for each n."""
        size = len(self.lengths) * LONGEST
        places = np.repeat(np.arange(len(self.lengths)), np.diff(self.starts)) * LONGEST
        squares = (self.counts * weights[self.ids]) ** 2
        return np.sqrt(np.bincount(places + self.orders, squares, size)).reshape(-1, LONGEST)


class Corpus:
    """Sentences of images, indexed for comparison.

    An n-gram weighs by how few of these images have it in a sentence, as in CIDEr; if not
    `weighted`, all weigh the same.
    """

    def __init__(self, images: Sequence[Sequence[Sequence[str]]], *, weighted: bool = True) -> None:
        ids: defaultdict[tuple[str, ...], int] = defaultdict(count().__next__)
        self._sentences = _Counted.of(list(chain(*images)), ids.__getitem__)
        self._ids = dict(ids)
        self._bounds = np.cumsum([0, *map(len, images)])
        self._orders = np.array([len(ngram) - 1 for ngram in ids], dtype=np.int64)
        self._weights = self._rarity() if weighted else np.ones(len(ids) + 1)
        self._norms = self._sentences.norms(self._weights)

    def _rarity(self) -> Float[np.ndarray, " _"]:
        """Log of images / document frequency; the last is for n-grams not in the corpus."""
        images, size = len(self._bounds) - 1, len(self._ids)
        entries = self._sentences.starts[self._bounds]  # the first of each image
        image = np.repeat(np.arange(images), np.diff(entries))
        pairs = np.sort(image * max(size, 1) + self._sentences.ids)
        once = pairs[np.diff(pairs, prepend=-1) > 0] % max(size, 1)
        frequencies = np.append(np.bincount(once, minlength=size), 1)
        return np.asarray(math.log(max(images, 1)) - np.log(frequencies))

    def rows_of(self, images: Sequence[int]) -> Int[np.ndarray, " R"]:
        """The sentences of some images, by their places in the corpus."""
        spans = [np.arange(self._bounds[i], self._bounds[i + 1]) for i in images]
        return np.concatenate([np.arange(0), *spans])

    def compare(
        self,
        sentences: Sequence[Sequence[Sequence[str]]],
        rows: Sequence[Int[np.ndarray, " _"]],
        measure: Measure = "cider",
    ) -> Iterator[Float[np.ndarray, "H R"]]:
        """For each image its sentences' similarity to those at its `rows` of the corpus.

        CIDEr-D is from 0 to 10. BLEU, from 0 to 1, is the mean over n of the F of clipped n-gram
        precision and recall, without a penalty on length; 0 if a sentence has less than four words.
        """
        places = np.full(len(self._ids) + 1, -1)  # of each n-gram among the U
        for own, others in zip(sentences, rows, strict=True):
            counted = _Counted.of(own, lambda ngram: self._ids.get(ngram, len(self._ids)))
            used = np.unique(counted.ids)
            used = used[: np.searchsorted(used, len(self._ids))]
            places[used] = np.arange(len(used))
            ours = _dense(counted, np.arange(len(own)), places, len(used))
            theirs = _dense(self._sentences, others, places, len(used))
            places[used] = -1
            lengths = counted.lengths[:, None], self._sentences.lengths[others]
            if measure == "bleu":
                yield _bleu(ours, theirs, self._orders[used], *lengths)
                continue
            weights, orders = self._weights[used], self._orders[used]
            unit = weights * _inverse(counted.norms(self._weights))[:, orders]
            their_unit = weights * _inverse(self._norms[others])[:, orders]
            cosines = _clipped(ours, theirs, unit, theirs * their_unit) / LONGEST
            difference = np.maximum(lengths[0], 1) - np.maximum(lengths[1], 1)
            yield SCALE * cosines * np.exp(-(difference**2) / (2 * SIGMA**2))


def _dense(
    sentences: _Counted, rows: Int[np.ndarray, " R"], places: Int[np.ndarray, " G"], size: int
) -> Float[np.ndarray, "R U"]:
    """Counts of the n-grams that have a place."""
    row, entry = sentences.entries(rows)
    column = places[sentences.ids[entry]]
    known = column >= 0
    counts = np.zeros((len(rows), size))
    counts[row[known], column[known]] = sentences.counts[entry[known]]
    return counts


def _clipped(
    ours: Float[np.ndarray, "H U"],
    theirs: Float[np.ndarray, "R U"],
    our_weights: Float[np.ndarray, "H U"] | float = 1.0,
    their_weights: Float[np.ndarray, "R U"] | float = 1.0,
) -> Float[np.ndarray, "H R"]:
    """Sums over n-grams of one for each c with ours >= c and theirs >= c, times both weights.

    Between two counts that occur all c give the same, so that a word said a thousand times costs
    little.
    """
    sums = np.zeros((len(ours), len(theirs)))
    there = np.union1d(ours, theirs)
    for less, least in pairwise(
        [0.0, *there[(there > 0) & (there <= ours.max(initial=0))].tolist()]
    ):
        products = ((ours >= least) * our_weights) @ ((theirs >= least) * their_weights).T
        sums += (least - less) * products
    return sums


def _bleu(
    ours: Float[np.ndarray, "H U"],
    theirs: Float[np.ndarray, "R U"],
    orders: Int[np.ndarray, " U"],
    our_lengths: Int[np.ndarray, "H 1"],
    their_lengths: Int[np.ndarray, " R"],
) -> Float[np.ndarray, "H R"]:
    scores = np.zeros((len(ours), len(theirs)))
    for order in range(LONGEST):
        # F = 2 P R / (P + R) = 2 right / (n-grams of ours + of theirs)
        right = _clipped(ours[:, orders == order], theirs[:, orders == order])
        scores += 2 * right / np.maximum(our_lengths + their_lengths - 2 * order, 1)
    long = (our_lengths >= LONGEST) & (their_lengths >= LONGEST)
    return np.where(long, scores / LONGEST, 0.0)


def _inverse(norms: Float[np.ndarray, "R 4"]) -> Float[np.ndarray, "R 4"]:
    """1 / norm; 0 for a sentence that has no n-gram of any weight."""
    return np.asarray(np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0))
