"""Fine-tuning of an EfficientNet-Lite: its last layers learn what captions tell of photos.

The layers up to the last that halves the map stay as they are and run as an ONNX graph, once for
each of a few views of a photo. Those after it learn from these maps by two linear heads above the
feature, see `caption_heads`, which are then thrown away. Each photo is seen once an epoch, with one
of its captions; a batch shows one view of each.

Letters: V views, N images, B batch, C channels, H height, W width, F image feature.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor, nn

from mrnn.data.dataset import CaptionedImage
from mrnn.errors import naming
from mrnn.model.image_encoder import OnnxEncoder
from mrnn.model.threads import in_threads
from mrnn.outputs import ASIDE
from mrnn.shapes import Float, Float16, Int64
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.encoders.caption_heads import CaptionHeads
from mrnn.training.encoders.lite_halves import Lite, check_new_name, open_lite, write_lite

WARM_UP = 60
"""Steps in which the learning rates rise."""
LONGEST_GRADIENT = 1.0
VIEWS = 5
"""Of each photo of train: the whole, its mirror image and parts."""
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
    `photos_seen` in all. With one thread the same data give the same file, bit for bit. Until it is
    done, a folder beside the file holds the maps of views: 208 kB a photo for Lite 2 at 320 pixels.
    Raises OptionsError for an encoder that is no EfficientNet-Lite, or a stem that is no new name;
    ImageError for a photo that cannot be read; OSError where the disk is full.
    """
    options = options or FineTuningOptions()
    check_new_name(file)
    vocabulary = Vocabulary.build(
        (words for image in images for words in image.words), options.min_count
    )
    captions = EncodedCaptions.of([image.words for image in images], vocabulary)
    aside = tempfile.TemporaryDirectory(prefix=ASIDE, dir=file.parent)
    with aside as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        lite = open_lite(name, Path(folder))
        maps = _maps_of_views(lite, images, options.seed, Path(folder) / "maps", on_photos)
        before = _features(lite, _blocks(maps[0], options.batch_size))
        heads = CaptionHeads(before, captions, len(vocabulary))
        run = _Run(lite, heads, maps, captions, options)
        for epoch in range(options.epochs):
            losses = run.train(epoch, on_photos)
            recall = _recall(lite, heads, dev, vocabulary, options.batch_size) if dev else None
            on_epoch(EpochTuned(epoch + 1, *losses, recall))
        return write_lite(lite, file)


def photos_seen(images: int, options: FineTuningOptions) -> int:
    """All calls of `on_photos` together."""
    batch = _batch(images, options)
    return VIEWS * images + options.epochs * (images // batch) * batch


def _batch(images: int, options: FineTuningOptions) -> int:
    return min(images, options.batch_size)


class _Run:
    """The training of tail and heads."""

    def __init__(
        self, lite: Lite, heads: CaptionHeads, maps: Float16[np.ndarray, "V N C H W"],
        captions: EncodedCaptions, options: FineTuningOptions,
    ) -> None:  # fmt: skip
        self._lite, self._heads, self._maps, self._options = lite, heads, maps, options
        self._sentences = captions.by_image
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(lite.tail.parameters()), "lr": options.learning_rate},
                {"params": list(heads.parameters()), "lr": options.head_learning_rate},
            ],
            weight_decay=options.weight_decay,
        )
        images = maps.shape[1]
        self._batch = _batch(images, options)
        steps = options.epochs * (images // self._batch)

        def factor(step: int) -> float:
            """A short rise, and a cosine down to 0."""
            return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))

        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)

    def train(self, epoch: int, on_photos: Callable[[int], None]) -> tuple[float, float]:
        """One pass over the photos; the mean losses."""
        random = np.random.default_rng([self._options.seed, epoch])
        order = random.permutation(self._maps.shape[1])
        whole = len(order) // self._batch * self._batch
        losses = []
        for rows in order[:whole].reshape(-1, self._batch):
            losses.append(self._step(rows, random))
            on_photos(len(rows))
        cider, joint = np.mean(losses, 0)
        return float(cider), float(joint)

    def _step(self, rows: Int64[np.ndarray, " B"], random: np.random.Generator) -> np.ndarray:
        own = [self._sentences[row] for row in rows]
        sentences = [each[random.integers(len(each))] for each in own]
        features = self._lite.features(self._maps[random.integers(VIEWS)][rows])
        cider = self._heads.cider_loss(features, torch.from_numpy(rows))
        joint = self._heads.joint_loss(features, sentences)
        self._optimizer.zero_grad()
        (cider + self._options.joint_weight * joint).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._lite.tail.parameters(), LONGEST_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        return np.array([cider.item(), joint.item()])


def _maps_of_views(
    lite: Lite, images: Sequence[CaptionedImage], seed: int, file: Path,
    on_photos: Callable[[int], None],
) -> Float16[np.ndarray, "V N C H W"]:  # fmt: skip
    """Of each photo, the whole first; in `file`, as they may be larger than the memory."""

    def map_of(place: tuple[int, int]) -> np.ndarray:
        view, row = place
        return lite.map_of(images[row].path, view, seed + row)

    shape: tuple[int, ...] = ()
    with naming(file), file.open("wb") as out:
        for each in in_threads(np.ndindex(VIEWS, len(images)), map_of):
            shape = each.shape
            out.write(each.tobytes())
            on_photos(1)
    return np.memmap(file, np.float16, "r", shape=(VIEWS, len(images), *shape))


def _blocks(maps: Float16[np.ndarray, "N C H W"], batch: int) -> Iterator[np.ndarray]:
    return (maps[start : start + batch] for start in range(0, len(maps), batch))


@torch.no_grad()
def _features(lite: Lite, blocks: Iterable[np.ndarray]) -> Float[Tensor, "N F"]:
    return torch.cat([lite.features(block) for block in blocks])


@torch.no_grad()
def _recall(
    lite: Lite, heads: CaptionHeads, dev: Sequence[CaptionedImage], vocabulary: Vocabulary,
    batch: int,
) -> float:  # fmt: skip
    captions = EncodedCaptions.of([image.words for image in dev], vocabulary)
    sentences = [sentence.tolist() for sentence in captions.sentences]
    blocks = [dev[start : start + batch] for start in range(0, len(dev), batch)]
    maps = in_threads(blocks, lambda block: np.stack([lite.map_of(image.path) for image in block]))
    best = heads.similarity(_features(lite, maps), sentences).argmax(1)
    return float((best.numpy() == captions.image_rows).mean())
