"""BLEU-1 to BLEU-4 of captions, as the COCO caption scorer counts them.

Letters: N images.
Source: Papineni et al., "BLEU", ACL 2002; Chen et al., "Microsoft COCO Captions", 2015.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mrnn.errors import DataError

LONGEST = 4  # words in the longest n-gram
TINY, SMALL = 1e-15, 1e-9  # keep the ratios finite where nothing matches


def ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each run of one to four words occurs."""
    return Counter(
        tuple(words[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(words) - n + 1)
    )


def check_pairs(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> None:
    """Refuse hypotheses and references that do not belong together."""
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses for the references of {len(references)} images; "
            "expected one hypothesis per image"
        )
    for i, sentences in enumerate(references):
        if not sentences:
            raise DataError(f"Image {i} has no references; expected at least one")


def match_counts(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Int[np.ndarray, "N 10"]:
    """What BLEU needs of each image; the rows of a corpus are summed.

    Columns: right n-grams (4), n-grams of the hypothesis (4), its length in words, and the length
    of the reference nearest to it (the shorter of two as near).
    """
    check_pairs(hypotheses, references)
    rows = np.zeros((len(hypotheses), 2 * LONGEST + 2), dtype=np.int64)
    for row, words, sentences in zip(rows, hypotheses, references, strict=True):
        most: Counter[tuple[str, ...]] = Counter()
        for sentence in sentences:
            most |= ngrams(sentence)
        for ngram, count in ngrams(words).items():
            row[len(ngram) - 1] += min(count, most[ngram])
            row[LONGEST + len(ngram) - 1] += count
        distances = [(abs(len(sentence) - len(words)), len(sentence)) for sentence in sentences]
        row[-2:] = len(words), min(distances)[1]
    return rows


def bleu(counts: Int[np.ndarray, "*N 10"]) -> Float[np.ndarray, "*N 4"]:
    """BLEU-1 to BLEU-4, from 0 to 1, of each row of counts."""
    right, total = counts[..., :LONGEST], counts[..., LONGEST : 2 * LONGEST]
    precision = np.cumprod((right + TINY) / (total + SMALL), axis=-1)
    ratio = (counts[..., -2] + TINY) / (counts[..., -1] + SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return np.asarray(brevity[..., None] * precision ** (1 / np.arange(1, LONGEST + 1)))


def corpus_bleu(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4, from 0 to 1, of all captions together."""
    one, two, three, four = bleu(match_counts(hypotheses, references).sum(axis=0)).tolist()
    return one, two, three, four


def sentence_bleu(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> Float[np.ndarray, "N 4"]:
    """BLEU-1 to BLEU-4, from 0 to 1, of each caption by itself."""
    return bleu(match_counts(hypotheses, references))
