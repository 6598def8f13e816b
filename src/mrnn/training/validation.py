"""Figures of a network in training on the dev split.

Letters: N images, F image feature.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from mrnn.captioning.decode import decode
from mrnn.errors import TrainingError
from mrnn.evaluation.captions import score_generation
from mrnn.evaluation.perplexity import perplexity_of
from mrnn.model.config import DecodingOptions
from mrnn.shapes import Float
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.batches import Batch, batches
from mrnn.training.data import TrainingData
from mrnn.training.network import Network, TorchLanguageModel, sentence_loss

BATCH_SIZE = 128


@dataclass(frozen=True)
class DevFigures:
    """Figures of one epoch, see `mrnn.model.epochs.EpochDone`."""

    dev_perplexity: float
    shuffled_perplexity: float | None
    distinct: float
    bleu_4: float
    cider: float


def validate(network: Network, data: TrainingData, max_length: int) -> DevFigures:
    """Perplexity, and scores of greedy captions of at most `max_length` words.

    Raises TrainingError where the perplexity is not finite.
    """
    perplexity = _perplexity(network, data.dev, data.dev_features)
    _check_finite(perplexity, "training.learning_rate")
    captions = greedy_captions(network, data.vocabulary, data.dev_features, max_length)
    scores = score_generation(captions, data.dev_references)
    return DevFigures(
        dev_perplexity=perplexity,
        shuffled_perplexity=_shuffled_perplexity(network, data),
        distinct=scores.distinct,
        bleu_4=scores.bleu_4,
        cider=scores.cider,
    )


def language_perplexity(network: Network, data: TrainingData) -> float:
    """Dev perplexity without photos. Raises TrainingError where it is not finite."""
    perplexity = _perplexity(network, data.dev, None)
    _check_finite(perplexity, "text.learning_rate")
    return perplexity


def _check_finite(perplexity: float, option: str) -> None:
    if not math.isfinite(perplexity):
        raise TrainingError(
            f"The dev perplexity is {perplexity}: the weights grew too large; lower {option}"
        )


def _perplexity(
    network: Network, captions: EncodedCaptions, features: Float[np.ndarray, "N F"] | None
) -> float:
    device = network.output.weight.device
    return dev_perplexity(network, batches(captions, features, BATCH_SIZE, device=device))


@torch.inference_mode()
def dev_perplexity(network: Network, batches: Iterable[Batch]) -> float:
    """2 ** -(mean log2 P) over all predicted words, `<eos>` and `<unk>` counted."""
    nats, words = 0.0, 0
    for batch in batches:
        nats += float(sentence_loss(network, batch.words, batch.targets, batch.features))
        words += batch.word_count
    return perplexity_of(nats, words)


def greedy_captions(
    network: Network, vocabulary: Vocabulary, features: Float[np.ndarray, "N F"], max_length: int
) -> list[list[str]]:
    """The words of each image's greedy caption."""
    greedy = DecodingOptions(beam_size=1, max_length=max_length)
    model, captions = TorchLanguageModel(network), []
    for start in range(0, len(features), BATCH_SIZE):
        block = features[start : start + BATCH_SIZE].astype(np.float32)
        for best, *_ in decode(model, model.encode_image(block), greedy):
            captions.append(vocabulary.decode(best.words))
    return captions


def _shuffled_perplexity(network: Network, data: TrainingData) -> float | None:
    """Dev perplexity with each caption moved to the next photo."""
    captions, features = data.dev, data.dev_features
    if not network.config.sees_image or len(features) < 2:
        return None
    next_rows = (captions.image_rows + 1) % len(features)
    shifted = EncodedCaptions(captions.sentences, next_rows)
    return _perplexity(network, shifted, features)
