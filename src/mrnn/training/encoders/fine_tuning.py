"""Fine-tuning of an EfficientNet-Lite: its last layers learn what captions tell of photos.

The layers before the last halving of the map stay as they are and run as an ONNX graph. Those after
it learn from two linear heads above the feature, see `caption_heads`, which are then thrown away.
Each photo is seen once an epoch, by one of its captions, cropped and mirrored at random.

Letters: N images, B batch, C channels, H height, W width, F image feature.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor, nn

from mrnn.data.dataset import CaptionedImage
from mrnn.model.image_encoder import OnnxEncoder
from mrnn.model.threads import in_threads
from mrnn.shapes import Float, Int64
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.encoders.caption_heads import CaptionHeads, sentences_of_images
from mrnn.training.encoders.lite_halves import Lite, check_new_name, open_lite, write_lite

WARM_UP = 60
"""Steps in which the learning rates rise."""
LONGEST_GRADIENT = 1.0
DEV_PHOTOS = 1000
"""The most photos of dev that recall is measured with."""


class FineTuningOptions(BaseModel):
    """How an encoder is fine-tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=8, ge=1)
    batch_size: int = Field(default=96, ge=2)
    learning_rate: FiniteFloat = Field(default=3e-4, gt=0)
    head_learning_rate: FiniteFloat = Field(default=1e-3, gt=0)
    weight_decay: FiniteFloat = Field(default=0.05, ge=0)
    joint_weight: FiniteFloat = Field(default=0.1, ge=0)
    """Of the loss of photos and captions, beside that of CIDEr vectors."""
    min_count: int = Field(default=3, ge=1)
    """Of a word that counts, in the captions of train."""
    seed: int = Field(default=0, ge=0, lt=2**32)


class EpochTuned(NamedTuple):
    """The mean losses of an epoch, see `CaptionHeads`."""

    epoch: int
    cider_loss: float
    joint_loss: float
    recall: float | None
    """R@1 of photos of dev for their captions by the second head; None without dev."""


def fine_tune(
    name: str,
    file: Path,
    images: Sequence[CaptionedImage],
    dev: Sequence[CaptionedImage] = (),
    options: FineTuningOptions | None = None,
    on_photos: Callable[[int], None] = lambda _: None,
    on_epoch: Callable[[EpochTuned], None] = lambda _: None,
) -> OnnxEncoder:
    """Tune the shipped encoder `name`, as efficientnet-lite0@288, and write it to `file`.

    The file's stem is the new encoder's name. `on_photos` is called with numbers of photos:
    `photos_seen` in all. With one thread the same data give the same file, bit for bit. Raises
    OptionsError for an encoder that is no EfficientNet-Lite, or a stem that is no new name;
    ImageError for a photo that cannot be read.
    """
    options = options or FineTuningOptions()
    check_new_name(file)
    vocabulary = Vocabulary.build(
        (words for image in images for words in image.words), options.min_count
    )
    captions = EncodedCaptions.of([image.words for image in images], vocabulary)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        lite = open_lite(name, Path(folder))
        before = _whole_features(lite, images, options.batch_size, on_photos)
        heads = CaptionHeads(before, captions, len(vocabulary))
        run = _Run(lite, heads, images, captions, options)
        for epoch in range(options.epochs):
            losses = run.train(epoch, on_photos)
            recall = _recall(lite, heads, dev, vocabulary, options.batch_size) if dev else None
            on_epoch(EpochTuned(epoch + 1, *losses, recall))
        return write_lite(lite, file)


def photos_seen(images: int, options: FineTuningOptions) -> int:
    """All calls of `on_photos` together."""
    return images + options.epochs * (images // _batch(images, options)) * _batch(images, options)


def _batch(images: int, options: FineTuningOptions) -> int:
    return min(images, options.batch_size)


class _Run:
    """The training of tail and heads."""

    def __init__(
        self, lite: Lite, heads: CaptionHeads, images: Sequence[CaptionedImage],
        captions: EncodedCaptions, options: FineTuningOptions,
    ) -> None:  # fmt: skip
        self._lite, self._heads, self._images, self._options = lite, heads, images, options
        self._sentences = sentences_of_images(captions)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(lite.tail.parameters()), "lr": options.learning_rate},
                {"params": list(heads.parameters()), "lr": options.head_learning_rate},
            ],
            weight_decay=options.weight_decay,
        )
        self._batch = _batch(len(images), options)
        steps = options.epochs * (len(images) // self._batch)

        def factor(step: int) -> float:
            """A short rise, and a cosine down to 0."""
            return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)

    def train(self, epoch: int, on_photos: Callable[[int], None]) -> tuple[float, float]:
        """One pass over the photos; the mean losses."""
        totals, batches = np.zeros(2), 0
        for rows, maps in self._batches(epoch):
            totals += self._step(rows, maps, epoch)
            batches += 1
            on_photos(len(rows))
        cider, joint = totals / batches
        return float(cider), float(joint)

    def _batches(self, epoch: int) -> Iterator[tuple[Int64[np.ndarray, " B"], np.ndarray]]:
        """Rows of photos and the maps of their views, made in threads ahead of the steps."""
        order = np.random.default_rng([self._options.seed, epoch]).permutation(len(self._images))
        whole = len(order) // self._batch * self._batch

        def maps_of(rows: Int64[np.ndarray, " B"]) -> tuple[np.ndarray, np.ndarray]:
            views = ((row, np.random.default_rng([self._options.seed, epoch, row])) for row in rows)
            maps = [self._lite.map_of(self._images[row].path, random) for row, random in views]
            return rows, np.stack(maps)

        yield from in_threads(order[:whole].reshape(-1, self._batch), maps_of)

    def _step(self, rows: Int64[np.ndarray, " B"], maps: np.ndarray, epoch: int) -> np.ndarray:
        random = np.random.default_rng([self._options.seed, epoch, *rows[:1]])
        own = [self._sentences[row] for row in rows]
        sentences = [each[random.integers(len(each))] for each in own]
        features = self._lite.features(maps)
        cider = self._heads.cider_loss(features, torch.from_numpy(rows))
        joint = self._heads.joint_loss(features, sentences)
        self._optimizer.zero_grad()
        (cider + self._options.joint_weight * joint).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._lite.tail.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        return np.array([cider.item(), joint.item()])


@torch.no_grad()
def _whole_features(
    lite: Lite, images: Sequence[CaptionedImage], batch: int,
    on_photos: Callable[[int], None] = lambda _: None,
) -> Float[Tensor, "N F"]:  # fmt: skip
    """Of whole photos."""
    blocks = [images[start : start + batch] for start in range(0, len(images), batch)]
    maps = in_threads(
        blocks, lambda block: np.stack([lite.map_of(image.path, None) for image in block])
    )
    features = []
    for each in maps:
        features.append(lite.features(each))
        on_photos(len(each))
    return torch.cat(features)


@torch.no_grad()
def _recall(
    lite: Lite, heads: CaptionHeads, dev: Sequence[CaptionedImage], vocabulary: Vocabulary,
    batch: int,
) -> float:  # fmt: skip
    captions = EncodedCaptions.of([image.words for image in dev], vocabulary)
    sentences = [sentence.tolist() for sentence in captions.sentences]
    best = heads.similarity(_whole_features(lite, dev, batch), sentences).argmax(1)
    return float((best.numpy() == captions.image_rows).mean())
