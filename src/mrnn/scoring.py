"""How well sentences fit images: log-likelihood and perplexity."""

import math
import sys
from collections.abc import Iterable

import torch

from mrnn.batching import Batch
from mrnn.model import Network

MOST_NATS = math.log(sys.float_info.max)
"""A word's: beyond, perplexity is greater than any float."""


@torch.inference_mode()
def perplexity(model: Network, batches: Iterable[Batch]) -> float:
    """2 ** -(mean log2 P) over all predicted words, end signs and unknown words counted."""
    nats, words = 0.0, 0
    for batch in batches:
        nats += float(model.loss(batch.words, batch.targets, batch.images))
        words += batch.word_count
    return perplexity_of(nats, words)


def perplexity_of(nats: float, words: int) -> float:
    """Of `words` words that cost so many nats together; infinite where a float cannot hold it."""
    return math.inf if nats / words >= MOST_NATS else math.exp(nats / words)
