"""CIDEr-D of captions, as the COCO caption scorer counts it.

Letters: N images.
Source: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mrnn.metrics.bleu import LONGEST, check_pairs, ngrams

SIGMA = 6.0  # width of the penalty on a difference of length, in words
SCALE = 10.0


@dataclass(frozen=True)
class DocumentFrequencies:
    """In the references of how many images each n-gram occurs, and the number of images."""

    counts: Counter[tuple[str, ...]]
    images: int

    @classmethod
    def of(cls, references: Sequence[Sequence[Sequence[str]]]) -> "DocumentFrequencies":
        """The frequencies in these references, a list of sentences for each image."""
        counts: Counter[tuple[str, ...]] = Counter()
        for sentences in references:
            counts.update({ngram for words in sentences for ngram in ngrams(words)})
        return cls(counts, len(references))


@dataclass(frozen=True)
class _Vector:
    """A sentence as tf-idf weights of its n-grams."""

    weights: dict[tuple[str, ...], float]
    norms: list[float]  # of the weights of each n
    length: int  # words


def _vector(words: Sequence[str], frequencies: DocumentFrequencies) -> _Vector:
    log_images = math.log(max(frequencies.images, 1))
    weights = {}
    squares = [0.0] * LONGEST
    for ngram, count in ngrams(words).items():
        weight = count * (log_images - math.log(frequencies.counts.get(ngram, 1)))
        weights[ngram] = weight
        squares[len(ngram) - 1] += weight * weight
    return _Vector(weights, [math.sqrt(square) for square in squares], len(words))


def _similarity(hypothesis: _Vector, reference: _Vector) -> float:
    """Clipped cosine, averaged over n and lowered by the difference of length; from 0 to 1."""
    dots = [0.0] * LONGEST
    for ngram in hypothesis.weights.keys() & reference.weights.keys():
        weight = reference.weights[ngram]
        dots[len(ngram) - 1] += min(hypothesis.weights[ngram], weight) * weight
    norms = [h * r for h, r in zip(hypothesis.norms, reference.norms, strict=True)]
    cosines = [dot / norm if norm else 0.0 for dot, norm in zip(dots, norms, strict=True)]
    # The scorer measures length in pairs of words, so that no words are as long as one.
    difference = max(hypothesis.length, 1) - max(reference.length, 1)
    return sum(cosines) / LONGEST * math.exp(-(difference**2) / (2 * SIGMA**2))


def cider_d(
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    frequencies: DocumentFrequencies | None = None,
) -> Float[np.ndarray, " N"]:
    """CIDEr-D, from 0 to 10, of each caption; the score of a corpus is their mean.

    Without `frequencies`, those of these references: then one image by itself scores 0.
    """
    check_pairs(hypotheses, references)
    if frequencies is None:
        frequencies = DocumentFrequencies.of(references)
    scores = np.zeros(len(hypotheses))
    for i, (words, sentences) in enumerate(zip(hypotheses, references, strict=True)):
        hypothesis = _vector(words, frequencies)
        vectors = [_vector(sentence, frequencies) for sentence in sentences]
        scores[i] = SCALE * np.mean([_similarity(hypothesis, vector) for vector in vectors])
    return scores
