"""Perplexity of people's captions under a model, with intervals over images.

Letters: N images, F image feature, R sets of images.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np

from mrnn.evaluation.captions import RESAMPLES, Interval, Setting, intervals_of
from mrnn.metrics.bootstrap import bootstrap
from mrnn.model.network import Network
from mrnn.retrieval.likelihood import caption_log_likelihoods
from mrnn.shapes import Float
from mrnn.tokenizer import EncodedCaptions, Vocabulary

MOST_NATS = math.log(sys.float_info.max)
"""Most bits of a word: beyond, perplexity is greater than any float."""
COUNTED: dict[str, Setting] = {
    "perplexity": "words, <unk> and <eos> counted",
    "perplexity_without_eos": "the same without <eos>",
}


@dataclass(frozen=True)
class PerplexityReport:
    """Of all captions of some images."""

    perplexity: float
    perplexity_without_eos: float
    intervals: dict[str, Interval]
    """Of both, by name."""
    settings: dict[str, Setting]


def evaluate_perplexity(
    network: Network,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PerplexityReport:
    """Of captions whose image rows are those of `features`."""
    nats = -caption_log_likelihoods(network, captions.sentences, features, captions.image_rows)
    lengths = captions.lengths
    costs = np.stack([nats.sum(axis=1), nats[:, 0], lengths + 1, lengths], axis=1)
    of_images = np.zeros((len(features), 4))
    np.add.at(of_images, captions.image_rows, costs)

    def nats_per_word(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R 2"]:
        sums = weights @ of_images
        return np.asarray(sums[:, :2] / np.maximum(sums[:, 2:], 1))

    whole, words = (perplexity_of(x, 1) for x in nats_per_word(np.ones((1, len(features))))[0])
    sampled = bootstrap(nats_per_word, len(features), resamples=resamples, seed=seed)
    intervals = {
        key: (perplexity_of(low, 1), perplexity_of(high, 1))
        for key, (low, high) in intervals_of(list(COUNTED), sampled).items()
    }
    all_words = np.concatenate(captions.sentences)
    settings: dict[str, Setting] = {
        "words": len(all_words),
        "unknown_words": int((all_words == Vocabulary.UNK).sum()),
        "vocabulary_words": network.config.vocabulary_size,
        **COUNTED,
    }
    return PerplexityReport(whole, words, intervals, settings)


def perplexity_of(nats: float, words: int) -> float:
    """2 ** -(mean log2 P) of words that cost so many nats together; infinite beyond any float."""
    return math.inf if nats / words >= MOST_NATS else math.exp(nats / words)
