"""The features of a dataset: one feature store for each encoder, DATA/features/ENCODER-MODE/.

Imported features are in NAME-imported/.

Letters: N images, F image feature.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.extraction import PhotoUpdate, size_and_change
from mrnn.data.feature_store.manifest import Manifest
from mrnn.data.feature_store.shard import UNKNOWN, Column
from mrnn.data.feature_store.store import CONFIG, FeatureStore, StoreConfig, read_config
from mrnn.data.feature_store.writer import feature_writer
from mrnn.errors import DataError, printable
from mrnn.model.config import EncoderIdentity, ResizeMode
from mrnn.model.image_encoder import ImageEncoder, is_encoder
from mrnn.shapes import Float16, Int


@dataclass(frozen=True)
class Features:
    """The features of a dataset's images by one encoder. They stay on the disk.

    An image's row is its place in the dataset.
    """

    store: FeatureStore[StoreConfig]
    places: Int[np.ndarray, " N"]
    """The rows of the store."""
    rows: dict[str, int]
    """By the names of the images."""

    @property
    def encoder(self) -> EncoderIdentity:
        """The encoder that made them."""
        return self.store.config.encoder

    def rows_of(self, images: Sequence[CaptionedImage]) -> Int[np.ndarray, " N"]:
        """The rows of these images."""
        return np.array([self.rows[image.name] for image in images], dtype=np.int64)

    def of(self, images: Sequence[CaptionedImage]) -> Float16[np.ndarray, "N F"]:
        """The features of these images, in their order, in memory."""
        return self[self.rows_of(images)]

    def select(self, images: Sequence[CaptionedImage]) -> "Features":
        """Those of these images alone, in their order. They stay on the disk, too."""
        rows = {image.name: row for row, image in enumerate(images)}
        return Features(self.store, self.places[self.rows_of(images)], rows)

    def __getitem__(self, rows: Int[np.ndarray, " N"]) -> Float16[np.ndarray, "N F"]:
        """The features of some rows, in memory. Raises DataError where they are damaged."""
        return self.store.take("features", self.places[rows])

    def __len__(self) -> int:
        return len(self.places)


def features_folder(dataset: Dataset, encoder: EncoderIdentity) -> Path:
    """Where the features of one encoder are."""
    name = re.sub(r"[^\w.-]", "-", encoder.name)  # timm:... is no name for a folder
    return dataset.features_folder / f"{name}-{encoder.resize_mode or 'imported'}"


def recorded_encoder(dataset: Dataset, name: str, resize_mode: ResizeMode) -> EncoderIdentity:
    """The identity behind features of that name in the dataset folder.

    Features have that resize mode, or are imported.

    Loads no encoder. Raises DataError if there are none.
    """
    for mode in (None, resize_mode):
        asked = EncoderIdentity(
            name=name, layer="", resize_mode=mode, size=0, feature_size=1, weights=""
        )
        folder, mend = features_folder(dataset, asked), mend_of(dataset, asked)
        if (folder / CONFIG).exists():
            return read_config(folder, StoreConfig, mend).encoder
    if is_encoder(name):
        raise DataError(f"{folder} does not exist; {mend}")
    there = sorted(file.parent.name for file in dataset.features_folder.glob(f"*/{CONFIG}"))
    has = f"it has {', '.join(there)}" if there else "it has none yet"
    raise DataError(
        f"{dataset.folder} has no features named {name!r:.80}, and no encoder is; {has:.150}"
    )


def mend_of(dataset: Dataset, encoder: EncoderIdentity) -> str:
    """The end of a message: the command that makes these features."""
    if encoder.imported:
        source = f"--from FEATURES --ids IDS --name {encoder.name}"
    else:
        source = f"--encoder {encoder.name} --resize-mode {encoder.resize_mode}"
    return f"run: mrnn extract {dataset.folder} {source}"


def store_config(encoder: EncoderIdentity) -> StoreConfig:
    """Of a store that holds the features of an encoder, and nothing else."""
    columns = {"features": Column(dtype="float16", size=encoder.feature_size)}
    return StoreConfig(encoder=encoder, columns=columns)


def load_features(dataset: Dataset, encoder: EncoderIdentity) -> Features:
    """The features of all images of a dataset. They are read when they are asked for.

    Raises DataError if they are missing, or of another encoder, or of photos of another size than
    are there now. Missing photos are no error.
    """
    folder, mend = features_folder(dataset, encoder), mend_of(dataset, encoder)
    if not (folder / CONFIG).exists():
        raise DataError(f"{folder} does not exist; {mend}")
    store = FeatureStore.open(folder, StoreConfig, mend)
    if store.config.encoder != encoder:
        raise DataError(f"{folder} is of an encoder with {_difference(store, encoder)}; {mend}")
    if store.config.columns != store_config(encoder).columns:
        raise DataError(f"{folder} does not hold float16 features; remove it, then {mend}")
    names = [image.name for image in dataset.images]
    places = store.find(names)
    if len(missing := np.flatnonzero(places < 0)):
        name, more = names[missing[0]], f" and of {len(missing) - 1:,} more"
        also = more if len(missing) > 1 else ""
        raise DataError(f"{folder} has no feature of {printable(name):.80}{also}; {mend}")
    _refuse_replaced(dataset, store, places, mend)
    return Features(store, places, {name: row for row, name in enumerate(names)})


def _difference(store: FeatureStore[StoreConfig], encoder: EncoderIdentity) -> str:
    found, wanted = store.config.encoder.model_dump(), encoder.model_dump()
    return ", ".join(
        f"{key} {found[key]}, not {value}" for key, value in wanted.items() if found[key] != value
    )


def _refuse_replaced(
    dataset: Dataset, store: FeatureStore[StoreConfig], places: Int[np.ndarray, " N"], mend: str
) -> None:
    """Sizes alone count here: times change when a dataset is copied."""
    for image, (size, *_) in zip(dataset.images, store.stamps(places).tolist(), strict=True):
        if UNKNOWN not in (size, now := size_and_change(image.path)[0]) and now != size:
            path = printable(image.path)
            raise DataError(f"{path} is another photo than its feature was made of; {mend}")


@dataclass(frozen=True)
class Extraction:
    """What an extraction left."""

    folder: Path
    """Where the features are."""
    away: int
    """Photos that are missing or cannot be read now; their features stay."""
    broken: tuple[str, ...]
    """Names of images that have no feature, as their photos cannot be encoded."""


def extract_features(
    dataset: Dataset,
    encoder: ImageEncoder,
    on_photo: Callable[[], None] = lambda: None,
    on_problem: Callable[[str], None] = lambda _: None,
) -> Extraction:
    """Compute the features of all photos of a dataset.

    A photo is encoded again only if its content has changed. An interrupted run goes on where it
    stopped. `on_problem` gets a line for each photo that cannot be encoded.
    """
    identity = encoder.identity
    folder, mend = features_folder(dataset, identity), mend_of(dataset, identity)
    manifest = Manifest(folder, store_config(identity), mend)
    with manifest.lock():
        if (folder / CONFIG).exists():
            old = read_config(folder, StoreConfig, mend)
            manifest.take_over(old, rows=old.encoder == identity)
        with feature_writer(manifest) as writer:
            update = PhotoUpdate(writer, lambda: encoder, on_problem)
            update.add(((image.name, image.path) for image in dataset.images), on_photo)
    return Extraction(folder, len(update.away), tuple(update.broken))
