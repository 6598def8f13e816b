"""Fine-tuning of an EfficientNet-Lite: its last layers learn what captions tell of photos.

The layers before the last halving of the map stay as they are and run as an ONNX graph. Those after
it learn from two linear heads above the feature, see `caption_heads`, which are then thrown away.
Each photo is seen once an epoch, by one of its captions, cropped and mirrored at random.

Letters: N images, B batch, C channels, H height, W width, F image feature.
"""

import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from onnx.utils import Extractor
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor, nn

from mrnn.data.dataset import CaptionedImage
from mrnn.errors import OptionsError
from mrnn.model.image_encoder import (
    AT,
    PIXELS,
    SHIPPED,
    EncoderMetadata,
    OnnxEncoder,
    encoder_file_name,
    load_encoder,
    open_encoder,
)
from mrnn.model.onnx_session import Session, open_session
from mrnn.model.threads import in_threads
from mrnn.shapes import Float, Float16, Int64
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.encoders.caption_heads import CaptionHeads
from mrnn.training.encoders.efficientnet_lite import (
    FEATURE_SIZE,
    PIXEL_MEAN,
    PIXEL_SCALE,
    Pooling,
    last_reduction,
    read_network,
)
from mrnn.training.encoders.efficientnet_lite_graph import efficientnet_lite_graph
from mrnn.training.encoders.encoder_file import (
    describe,
    quantize_initializers,
    read_initializers,
    strip,
    write_encoder,
)
from mrnn.training.encoders.headless import HeadlessNetwork
from mrnn.training.encoders.photo_views import view_of

LITE = re.compile(r"efficientnet-lite([012])(-.*)?")
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


@dataclass(frozen=True)
class _Lite:
    """A network in two halves."""

    trunk: Session
    tail: nn.Sequential
    layers: nn.Sequential
    """All layers up to pooling; the tail's are the last of them."""
    native_size: int
    side: int
    """Of the squares that it is tuned for, in pixels."""

    def map_of(self, path: Path | str, random: np.random.Generator | None) -> np.ndarray:
        """What the trunk makes of a view of a photo; without `random` it is the whole."""
        pixels = view_of(path, self.side, random)
        (maps,) = self.trunk.run({PIXELS: pixels[None]})
        return np.asarray(maps[0], dtype=np.float16)

    def features(self, maps: Float16[np.ndarray, "B C H W"]) -> Float[Tensor, "B F"]:
        """What the tail makes of these."""
        x = torch.from_numpy(maps.astype(np.float32))
        features: Tensor = self.tail(x.to(memory_format=torch.channels_last))
        return features


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
    OptionsError for an encoder that is no EfficientNet-Lite, ImageError for a photo that cannot be
    read.
    """
    options = options or FineTuningOptions()
    vocabulary = Vocabulary.build(
        (words for image in images for words in image.words), options.min_count
    )
    captions = EncodedCaptions.of([image.words for image in images], vocabulary)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        lite = _open(name, Path(folder))
        before = _whole_features(lite, images, options.batch_size, on_photos)
        heads = CaptionHeads(before, captions, len(vocabulary))
        run = _Run(lite, heads, images, captions, options)
        for epoch in range(options.epochs):
            losses = run.train(epoch, on_photos)
            recall = _recall(lite, heads, dev, vocabulary, options.batch_size) if dev else None
            on_epoch(EpochTuned(epoch + 1, *losses, recall))
        return _write(lite, file)


def photos_seen(images: int, options: FineTuningOptions) -> int:
    """All calls of `on_photos` together."""
    return images + options.epochs * (images // _batch(images, options)) * _batch(images, options)


def _batch(images: int, options: FineTuningOptions) -> int:
    return min(images, options.batch_size)


# Networks


def _open(name: str, folder: Path) -> _Lite:
    """The encoder in two halves. `folder` is for the first one's graph."""
    found = LITE.fullmatch(name.partition(AT)[0])
    if not found:
        raise OptionsError(
            f"--encoder {name!r} cannot be fine-tuned; what can: efficientnet-lite0, 1 or 2, also "
            f"at another size, as efficientnet-lite0{AT}288"
        )
    side = load_encoder(name).identity.size  # says what is wrong with a name or size
    model = onnx.load(SHIPPED / encoder_file_name(name))
    layers = read_network(read_initializers(model), int(found[1]))
    metadata = {each.key: each.value for each in model.metadata_props}
    cut = last_reduction(layers)
    ends = _outputs(model, cut)
    file = folder / "trunk.onnx"
    shaped = onnx.shape_inference.infer_shapes(model)
    onnx.save(Extractor(shaped).extract_model([PIXELS], [ends]), file)
    tail = nn.Sequential(*list(layers)[cut:], Pooling())
    for tensor in tail.parameters():
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    trunk = open_session(file, "run the command again", convolutional=True)
    native = EncoderMetadata.model_validate(metadata).size
    return _Lite(trunk, tail.train(), layers, native, side)


def _outputs(model: onnx.ModelProto, cut: int) -> str:
    """The name of the map that the layer `cut` takes."""
    (first,) = (node for node in model.graph.node if node.name == f"{cut}.0")
    return str(first.input[0])


def _write(lite: _Lite, file: Path) -> OnnxEncoder:
    mean, scale = (PIXEL_MEAN,) * 3, (PIXEL_SCALE,) * 3
    pooled = nn.Sequential(lite.layers.eval().requires_grad_(requires_grad=False), Pooling())
    headless = HeadlessNetwork(pooled, file.stem, "pooled", lite.native_size, mean, scale)
    model = efficientnet_lite_graph(headless)
    strip(model)
    quantize_initializers(model)
    describe(model, headless.name, headless.layer, headless.size, FEATURE_SIZE, mean)
    write_encoder(model, file)
    return open_encoder(file, "squash")


# Training


class _Run:
    """The training of tail and heads."""

    def __init__(
        self, lite: _Lite, heads: CaptionHeads, images: Sequence[CaptionedImage],
        captions: EncodedCaptions, options: FineTuningOptions,
    ) -> None:  # fmt: skip
        self._lite, self._heads, self._images, self._options = lite, heads, images, options
        self._sentences: list[list[list[int]]] = [[] for _ in images]
        for row, sentence in zip(captions.image_rows.tolist(), captions.sentences, strict=True):
            self._sentences[row].append(sentence.tolist())
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
    lite: _Lite, images: Sequence[CaptionedImage], batch: int,
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
    lite: _Lite, heads: CaptionHeads, dev: Sequence[CaptionedImage], vocabulary: Vocabulary,
    batch: int,
) -> float:  # fmt: skip
    captions = EncodedCaptions.of([image.words for image in dev], vocabulary)
    sentences = [sentence.tolist() for sentence in captions.sentences]
    best = heads.similarity(_whole_features(lite, dev, batch), sentences).argmax(1)
    return float((best.numpy() == captions.image_rows).mean())
