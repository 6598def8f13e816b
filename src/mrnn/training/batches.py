"""Seeded batches of captions of nearly one length, with the features of their images.

Letters: B batch, T words, F image feature.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrnn.data.features import Features
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.network import IGNORED

POOL_BATCHES = 50
"""Captions are shuffled, then sorted by length within pools of this many batches."""


@dataclass(frozen=True)
class Batch:
    """Captions of nearly one length, each with the feature of its image."""

    words: Int[Tensor, "B T"]
    """`<bos>` and the words, padded with `<eos>`."""
    targets: Int[Tensor, "B T"]
    """The word after each: the words and `<eos>`, then `IGNORED`."""
    features: Float[Tensor, "B F"]
    rows: Int[np.ndarray, " B"]
    """The captions' places among all."""

    @property
    def word_count(self) -> int:
        """Words that are predicted, `<eos>` included."""
        return int((self.targets != IGNORED).sum())


def batches(
    captions: EncodedCaptions,
    features: np.ndarray | Features,
    batch_size: int,
    generator: torch.Generator | None = None,
) -> Iterator[Batch]:
    """All captions once, in batches of nearly one length.

    With a generator, the captions of a batch and the order of the batches are random; without, the
    order is by length. Only the rows of a batch are read from `features`.
    """
    lengths = captions.lengths
    if generator is None:
        order = np.argsort(lengths, kind="stable")
        starts = np.arange(0, len(order), batch_size)
    else:
        order = torch.randperm(len(captions), generator=generator).numpy()
        pool = batch_size * POOL_BATCHES
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in pools])
        starts = np.arange(0, len(order), batch_size)
        starts = starts[torch.randperm(len(starts), generator=generator).numpy()]
    for start in starts:
        yield _batch(captions, features, order[start : start + batch_size])


def _batch(
    captions: EncodedCaptions, features: np.ndarray | Features, rows: Int[np.ndarray, " B"]
) -> Batch:
    sentences = [captions.sentences[row] for row in rows]
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    words = np.full((len(rows), lengths.max() + 1), Vocabulary.EOS, dtype=np.int64)
    targets = np.full_like(words, IGNORED)
    words[:, 0] = Vocabulary.BOS
    inside = np.arange(lengths.max()) < lengths[:, None]
    words[:, 1:][inside] = targets[:, :-1][inside] = np.concatenate(sentences)
    targets[np.arange(len(rows)), lengths] = Vocabulary.EOS
    own = torch.from_numpy(features[captions.image_rows[rows]]).float()
    return Batch(torch.from_numpy(words), torch.from_numpy(targets), own, rows)
