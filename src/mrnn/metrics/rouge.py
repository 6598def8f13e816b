"""ROUGE-L of captions, as the COCO caption scorer counts it.

Letters: N images.
Source: Lin, "ROUGE", 2004, section 3; beta as in Chen et al., "Microsoft COCO Captions", 2015.
"""

from collections.abc import Sequence

import numpy as np

from mrnn.metrics.ngrams import Words, check_pairs
from mrnn.shapes import Float

BETA = 1.2  # how much more recall counts than precision


def rouge_l(
    hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]
) -> Float[np.ndarray, " N"]:
    """ROUGE-L, from 0 to 1, of each caption; the score of a corpus is their mean.

    The best precision and the best recall may come from different references.
    """
    check_pairs(hypotheses, references)
    scores = np.zeros(len(hypotheses))
    for i, (words, sentences) in enumerate(zip(hypotheses, references, strict=True)):
        hypothesis = words or [""]  # the scorer takes no words for one empty word
        common = longest_common(hypothesis, [sentence or [""] for sentence in sentences])
        precision = max(common) / len(hypothesis)
        recall = max(c / max(len(s), 1) for c, s in zip(common, sentences, strict=True))
        if precision and recall:
            scores[i] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return scores


def longest_common(words: Words, sentences: Sequence[Words]) -> list[int]:
    """Words in the longest subsequence that `words` and each sentence have in common.

    Bit i of a row is 0 where the subsequence grows at word i (Hyyrö, "Bit-parallel LCS-length
    computation revisited", 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(words)) - 1
    lengths = []
    for sentence in sentences:
        row = full
        for word in sentence:
            matches = row & places.get(word, 0)
            row = (row + matches) | (row - matches)
        lengths.append(len(words) - (row & full).bit_count())
    return lengths
