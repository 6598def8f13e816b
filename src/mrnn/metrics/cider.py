"""CIDEr-D of captions, as the COCO caption scorer counts it, and plain CIDEr.

Letters: N images, S sentences, G different n-grams.
Source: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mrnn.errors import DataError
from mrnn.files import read_form
from mrnn.metrics.ngrams import LONGEST, NGram, NGrams, Words
from mrnn.outputs import write_whole
from mrnn.shapes import Float

SIGMA = 6.0  # width of the penalty on a difference of length, in words
SCALE = 10.0
FORMAT = 1  # of a file of document frequencies
MEND = "write it again: mrnn score --save-frequencies"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: int
    images: int = Field(ge=1)
    counts: dict[str, int]


@dataclass(frozen=True)
class DocumentFrequencies:
    """In the references of how many images each n-gram occurs, and the number of images."""

    counts: Counter[NGram]
    images: int

    @classmethod
    def of(cls, references: Sequence[Sequence[Words]]) -> "DocumentFrequencies":
        """The frequencies in these references, a list of sentences for each image."""
        counts: Counter[NGram] = Counter()
        for sentences in references:
            counts.update(
                {
                    tuple(words[i : i + n])
                    for words in sentences
                    for n in range(1, LONGEST + 1)
                    for i in range(len(words) - n + 1)
                }
            )
        return cls(counts, len(references))

    @classmethod
    def load(cls, file: Path) -> "DocumentFrequencies":
        """What `save` wrote. Raises DataError."""
        content = read_form(file, _File, FORMAT, MEND, MEND)
        wrong = (n for n, count in content.counts.items() if not 1 <= count <= content.images)
        if (ngram := next(wrong, None)) is not None:
            problem = f"{ngram!r:.60} is in the captions of {content.counts[ngram]} images"
            raise DataError(f"{file}: {problem} of {content.images}; {MEND}")
        counts = {tuple(ngram.split()): count for ngram, count in content.counts.items()}
        return cls(Counter(counts), content.images)

    @staticmethod
    def is_file(start: bytes) -> bool:
        """Whether a file that begins so may be one that `save` wrote."""
        return start.startswith(b'{"format":') and b'"counts":' in start

    def save(self, file: Path) -> None:
        """As JSON. N-grams of one image are left out: one and none weigh the same."""
        counts = {" ".join(ngram): count for ngram, count in self.counts.items() if count > 1}
        content = _File(format=FORMAT, images=self.images, counts=counts)
        write_whole(file, content.model_dump_json() + "\n")


def cider_d(
    hypotheses: Sequence[Words],
    references: Sequence[Sequence[Words]],
    frequencies: DocumentFrequencies | None = None,
) -> Float[np.ndarray, " N"]:
    """CIDEr-D, from 0 to 10, of each caption; the score of a corpus is their mean.

    Without `frequencies`, those of these references: then one image by itself scores 0.
    """
    return ngram_ciders(NGrams.of(hypotheses, references), frequencies)[0]


def cider(
    hypotheses: Sequence[Words],
    references: Sequence[Sequence[Words]],
    frequencies: DocumentFrequencies | None = None,
) -> Float[np.ndarray, " N"]:
    """As `cider_d`, but repeated words and a wrong length cost nothing of their own (eq. 2, 3)."""
    return ngram_ciders(NGrams.of(hypotheses, references), frequencies)[1]


def ngram_ciders(
    ngrams: NGrams, frequencies: DocumentFrequencies | None = None
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """CIDEr-D and plain CIDEr of n-grams that are counted already."""
    images, sentences = ngrams.images, len(ngrams.image)
    weight = ngrams.count * _rarity(ngrams, frequencies)[ngrams.ngram]
    every = np.arange(len(weight))
    norm = np.sqrt(ngrams.sums(ngrams.sentence, every, weight**2, sentences))
    theirs, ours = ngrams.same
    clipped = np.minimum(weight[ours], weight[theirs]) * weight[theirs]
    whole = weight[ours] * weight[theirs]
    norms = norm * norm[ngrams.image]
    norms[norms == 0] = np.inf
    # The scorer measures length in pairs of words, so that no words are as long as one.
    length = np.maximum(ngrams.length, 1)
    penalty = np.exp(-((length - length[ngrams.image]) ** 2) / (2 * SIGMA**2))
    scores = []
    for products, factor in ((clipped, penalty), (whole, np.ones(sentences))):
        dots = ngrams.sums(ngrams.sentence[theirs], theirs, products, sentences)
        of_sentence = (dots / norms).mean(axis=1) * factor
        total = np.bincount(ngrams.image, of_sentence, minlength=images)  # a hypothesis adds 0
        scores.append(SCALE * total / (np.bincount(ngrams.image, minlength=images) - 1))
    return scores[0], scores[1]


def _rarity(ngrams: NGrams, frequencies: DocumentFrequencies | None) -> Float[np.ndarray, " G"]:
    """The logarithm of images over images whose references have the n-gram."""
    size = len(ngrams.longer)
    if frequencies is None:
        theirs = ~ngrams.in_hypothesis
        image = ngrams.image[ngrams.sentence[theirs]]
        pairs = np.unique(image * size + ngrams.ngram[theirs])
        counts = np.bincount(pairs % max(size, 1), minlength=size)
        images = ngrams.images
    else:
        counts = np.array([frequencies.counts[ngrams.spelling(i)] for i in range(size)])
        images = frequencies.images
    return np.asarray(np.log(max(images, 1)) - np.log(np.maximum(counts, 1)))
