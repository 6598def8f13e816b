"""Photos to rows of a feature store; only new and changed photos are encoded.

Letters: F image feature.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np

from mrnn.data.feature_shard import UNKNOWN
from mrnn.data.feature_store import Config
from mrnn.data.feature_writer import FeatureWriter
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError, printable
from mrnn.model.image_encoder import ImageEncoder
from mrnn.shapes import Bool, Float, Float16

LARGEST = 65_504
"""The largest number that float16 holds."""
PHOTOS_AT_ONCE = 256
"""Photos that are looked up together."""

Stamp = tuple[int, int]
"""A file's size in bytes and time of modification in ns."""


@dataclass
class Added:
    """The results of some photos."""

    good: Bool[np.ndarray, " _"]
    """Which rows of the store, as it was at the start, are of these photos and have not changed."""
    new: int = 0
    changed: int = 0
    """Photos whose rows were made again."""


def add_photos(
    photos: Iterable[tuple[str, str | Path]],
    writer: FeatureWriter[Config],
    encoder: Callable[[], ImageEncoder],
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
) -> Added:
    """Add the photos, each with its name, that the store lacks or that have changed.

    `on_problem` gets a line for each photo that cannot be encoded; it is left out. A photo that is
    missing keeps its row. The encoder is loaded for the first photo that needs it.
    """
    load_once = cache(encoder)
    added = Added(np.zeros(len(writer.store.kept), dtype=bool))
    for name, path, row, known in _looked_up(photos, writer):
        stamp = stamp_of(path)
        if row >= 0 and (added.good[row] or stamp in (known, None)):
            added.good[row] = True
        elif not writer.is_added(name):
            try:
                feature = encode_photo(path, load_once())
            except (ImageError, DataError) as error:
                on_problem(str(error))
                feature = None
            if row >= 0:  # what it holds is of another photo
                writer.remove([row])
            if feature is not None:
                writer.add(name, *(stamp or (UNKNOWN, UNKNOWN)), feature)
                added.new += row < 0
                added.changed += row >= 0
        on_photo()
    return added


def _looked_up(
    photos: Iterable[tuple[str, str | Path]], writer: FeatureWriter[Config]
) -> Iterator[tuple[str, str | Path, int, Stamp | None]]:
    """Each photo, and what is known of it: its row, -1 for none, and its file as it was then."""
    photos = iter(photos)
    while block := list(islice(photos, PHOTOS_AT_ONCE)):
        rows = writer.store.find([name for name, _ in block])
        stamps = map(tuple, writer.store.stamps(rows[rows >= 0]).tolist())
        for (name, path), row in zip(block, rows.tolist(), strict=True):
            yield name, path, row, next(stamps) if row >= 0 else None


def stamp_of(photo: str | Path) -> Stamp | None:
    """Size and time of a file; None for one that is not there."""
    try:
        status = os.stat(photo)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def encode_photo(photo: str | Path, encoder: ImageEncoder) -> Float16[np.ndarray, " F"]:
    """Raises ImageError for a photo that cannot be read, DataError for values beyond float16."""
    loaded = load_image(photo, least_side=encoder.identity.least_side)
    return to_float16(encoder.encode(encoder.preprocess(loaded)), photo)


def to_float16(feature: Float[np.ndarray, " F"], photo: str | Path) -> Float16[np.ndarray, " F"]:
    """The feature as it is stored. Raises DataError for a value that is not finite or too large."""
    with np.errstate(over="ignore", invalid="ignore"):
        half = feature.astype(np.float16)
    if not (finite := np.isfinite(half)).all():
        raise DataError(
            f"{printable(photo)}: its feature holds {feature[~finite][0]:g}, but numbers up to "
            f"{LARGEST:,} can be stored; leave the photo out, or use another encoder"
        )
    return half
