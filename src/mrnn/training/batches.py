"""Seeded batches of captions of nearly one length, with the features of their images.

Letters: B batch, T words, N images, F image feature; F is 0 for captions without photos.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrnn.data.features import Features
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.devices import CPU, move
from mrnn.training.loss import IGNORED

POOL_BATCHES = 50
"""Captions are shuffled, then sorted by length within pools of this many batches."""
MOST_BYTES = 4 * 2**30
"""Features of at most this size are kept on a device other than the CPU."""
ROWS_AT_ONCE = 4096


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
    word_count: int
    """Words that are predicted, `<eos>` included."""


def batches(
    captions: EncodedCaptions,
    features: np.ndarray | Features | Tensor | None,
    batch_size: int,
    generator: torch.Generator | None = None,
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """All captions once, in batches of nearly one length.

    With a generator, the captions of a batch and the order of the batches are random; without, the
    order is by length. Only the rows of a batch are read from `features`; a tensor is on the
    device already. Without features the captions have no photos, and no image rows are looked at.
    """
    for rows in batch_rows(captions, batch_size, generator):
        yield batch_of(captions, features, rows, device)


def batch_rows(
    captions: EncodedCaptions, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Int[np.ndarray, " B"]]:
    """The captions of each batch, as places among all; see `batches`."""
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
        yield order[start : start + batch_size]


def batch_of(
    captions: EncodedCaptions,
    features: np.ndarray | Features | Tensor | None,
    rows: Int[np.ndarray, " B"],
    device: torch.device,
) -> Batch:
    """The batch of these captions."""
    sentences = [captions.sentences[row] for row in rows]
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    words = np.full((len(rows), lengths.max() + 1), Vocabulary.EOS, dtype=np.int64)
    targets = np.full_like(words, IGNORED)
    words[:, 0] = Vocabulary.BOS
    inside = np.arange(lengths.max()) < lengths[:, None]
    words[:, 1:][inside] = targets[:, :-1][inside] = np.concatenate(sentences)
    targets[np.arange(len(rows)), lengths] = Vocabulary.EOS
    return Batch(
        move(torch.from_numpy(words), device),
        move(torch.from_numpy(targets), device),
        _features_of(captions, features, rows, device),
        rows,
        int(lengths.sum()) + len(rows),
    )


def _features_of(
    captions: EncodedCaptions,
    features: np.ndarray | Features | Tensor | None,
    rows: Int[np.ndarray, " B"],
    device: torch.device,
) -> Float[Tensor, "B F"]:
    if features is None:
        return torch.zeros(len(rows), 0, device=device)
    images = captions.image_rows[rows]
    if isinstance(features, Tensor):
        return features[move(torch.from_numpy(images), device)].float()
    return move(torch.from_numpy(features[images]), device).float()


def keep_on(
    device: torch.device, features: Features, rows: Int[np.ndarray, " _"]
) -> Features | Float[Tensor, "N F"]:
    """Features on the device if they fit there, else as they are; only `rows` will be used."""
    size = features.encoder.feature_size
    if device.type == "cpu" or 2 * len(features) * size > MOST_BYTES:
        return features
    kept, wanted = torch.empty(len(features), size, dtype=torch.float16), np.unique(rows)
    for start in range(0, len(wanted), ROWS_AT_ONCE):
        block = wanted[start : start + ROWS_AT_ONCE]
        kept[torch.from_numpy(block)] = torch.from_numpy(features[block])
    return kept.to(device)
