"""How well sentences fit images: log-likelihood and perplexity."""

import math
from collections.abc import Iterable

import torch

from mrnn.batching import Batch
from mrnn.model import MRNN


@torch.inference_mode()
def perplexity(model: MRNN, batches: Iterable[Batch]) -> float:
    """2 ** -(mean log2 P) over all predicted words, end signs and unknown words counted."""
    nats, words = 0.0, 0
    for batch in batches:
        nats += float(model.loss(batch.words, batch.targets, batch.images))
        words += batch.word_count
    return math.exp(nats / words)
