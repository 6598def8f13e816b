"""BLEU-1 to BLEU-4 of captions, as the COCO caption scorer counts them.

Letters: N images.
Source: Papineni et al., "BLEU", ACL 2002; Chen et al., "Microsoft COCO Captions", 2015.
"""

from collections.abc import Sequence

import numpy as np

from mrnn.metrics.ngrams import LONGEST, NGrams, Words
from mrnn.shapes import Float, Int

TINY, SMALL = 1e-15, 1e-9  # keep the ratios finite where nothing matches


def match_counts(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]
) -> Int[np.ndarray, "N 10"]:
    """What BLEU needs of each image; the rows of a corpus are summed.

    Columns: right n-grams (4), n-grams of the hypothesis (4), its length in words, and the length
    of the reference nearest to it (the shorter of two as near).
    """
    return ngram_match_counts(NGrams.of(hypotheses, references))


def ngram_match_counts(ngrams: NGrams) -> Int[np.ndarray, "N 10"]:
    """The same of n-grams that are counted already."""
    images = ngrams.images
    ours = np.flatnonzero(ngrams.in_hypothesis)
    theirs, matched = ngrams.same
    most = np.zeros(len(ours), dtype=np.int64)
    np.maximum.at(most, matched, ngrams.count[theirs])
    total = ngrams.count[ours]
    image = ngrams.sentence[ours]
    length, nearest = ngrams.length[:images], np.empty(images, dtype=np.int64)
    of, lengths = ngrams.image[images:], ngrams.length[images:]
    order = np.lexsort((lengths, abs(lengths - length[of]), of))
    first, place = np.unique(of[order], return_index=True)
    nearest[first] = lengths[order[place]]
    rows = [
        ngrams.sums(image, ours, np.minimum(most, total), images),
        ngrams.sums(image, ours, total, images),
        length[:, None],
        nearest[:, None],
    ]
    return np.concatenate(rows, axis=1).astype(np.int64)


def bleu(
    counts: Int[np.ndarray, "*N 10"] | Float[np.ndarray, "*N 10"],
) -> Float[np.ndarray, "*N 4"]:
    """BLEU-1 to BLEU-4, from 0 to 1, of each row of counts."""
    right, total = counts[..., :LONGEST], counts[..., LONGEST : 2 * LONGEST]
    precision = np.cumprod((right + TINY) / (total + SMALL), axis=-1)
    ratio = (counts[..., -2] + TINY) / (counts[..., -1] + SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return np.asarray(brevity[..., None] * precision ** (1 / np.arange(1, LONGEST + 1)))


def corpus_bleu(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]
) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4, from 0 to 1, of all captions together."""
    one, two, three, four = bleu(match_counts(hypotheses, references).sum(axis=0)).tolist()
    return one, two, three, four
