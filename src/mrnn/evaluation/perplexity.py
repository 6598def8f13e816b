"""Perplexity of people's captions under a model, with intervals over images.

Letters: N images, F image feature, V vocabulary, R sets of images, P perplexities.
"""

import math
import sys
from dataclasses import dataclass

import numpy as np

from mrnn.evaluation.captions import RESAMPLES, Interval, intervals_of
from mrnn.evaluation.settings import Setting
from mrnn.metrics.bootstrap import bootstrap
from mrnn.model.network import Network
from mrnn.retrieval.likelihood import caption_log_likelihoods
from mrnn.shapes import Bool, Float
from mrnn.tokenizer import EncodedCaptions, Vocabulary

MOST_NATS = math.log(sys.float_info.max)
"""Most bits of a word: beyond, perplexity is greater than any float."""
COUNTED: dict[str, Setting] = {
    "perplexity": "words, <unk> and <eos> counted",
    "perplexity_without_eos": "the same without <eos>",
}
OVER_VOCABULARY = "perplexity_over_vocabulary"


@dataclass(frozen=True)
class PerplexityReport:
    """Of all captions of some images."""

    perplexity: float
    perplexity_without_eos: float
    intervals: dict[str, Interval]
    """Of both, by name."""
    settings: dict[str, Setting]
    perplexity_over_vocabulary: float | None = None
    """None where there is no other vocabulary."""


def evaluate_perplexity(
    network: Network,
    captions: EncodedCaptions,
    features: Float[np.ndarray, "N F"],
    *,
    unknown: Bool[np.ndarray, " V"] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PerplexityReport:
    """Of captions whose image rows are those of `features`.

    With `unknown`, from `unknown_words`, also over that other vocabulary.
    """
    nats = -caption_log_likelihoods(
        network, captions.sentences, features, captions.image_rows, unknown=unknown
    )
    keys = [*COUNTED, *[OVER_VOCABULARY] * (unknown is not None)]
    lengths, eos = captions.lengths, nats[:, 1]
    costs = [nats[:, 0] + eos, nats[:, 0], *(pooled + eos for pooled in nats[:, 2:].T)]
    counts = [lengths + 1, lengths, lengths + 1][: len(keys)]
    of_images = np.zeros((len(features), 2 * len(keys)))
    np.add.at(of_images, captions.image_rows, np.stack([*costs, *counts], axis=1))

    def nats_per_word(weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R P"]:
        sums = weights @ of_images
        return np.asarray(sums[:, : len(keys)] / np.maximum(sums[:, len(keys) :], 1))

    figures = [perplexity_of(x, 1) for x in nats_per_word(np.ones((1, len(features))))[0]]
    sampled = bootstrap(nats_per_word, len(features), resamples=resamples, seed=seed)
    intervals = {
        key: (perplexity_of(low, 1), perplexity_of(high, 1))
        for key, (low, high) in intervals_of(keys, sampled).items()
    }
    all_words = np.concatenate(captions.sentences)
    settings: dict[str, Setting] = {
        "words": len(all_words),
        "unknown_words": int((all_words == Vocabulary.UNK).sum()),
        "vocabulary_words": network.config.vocabulary_size,
        **COUNTED,
    }
    if unknown is not None:
        settings |= {
            OVER_VOCABULARY: "words shared with that vocabulary, all others as one <unk>, <eos>",
            "shared_words": int((~unknown).sum()) - 2,  # <bos>, <eos>
            "words_not_shared": int(unknown[all_words].sum()),
        }
    found = dict(zip(keys, figures, strict=True))
    return PerplexityReport(
        found["perplexity"], found["perplexity_without_eos"], intervals, settings,
        found.get(OVER_VOCABULARY),
    )  # fmt: skip


def unknown_words(vocabulary: Vocabulary, other: Vocabulary) -> Bool[np.ndarray, " V"]:
    """Which words of a model's vocabulary count as `<unk>` over another: `<unk>` and what it lacks.

    A word that the model lacks is its `<unk>` anyway, so what counts as itself is what both have.
    Two models over each other's vocabulary are thus measured on the same words, and compare.
    """
    unknown = np.array([word not in other for word in vocabulary.words])
    unknown[[Vocabulary.BOS, Vocabulary.EOS]] = False
    return unknown


def perplexity_of(nats: float, words: int) -> float:
    """2 ** -(mean log2 P) of words that cost so many nats together; infinite beyond any float."""
    return math.inf if nats / words >= MOST_NATS else math.exp(nats / words)
