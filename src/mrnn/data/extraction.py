"""Photos to rows of a feature store; only new and changed photos are encoded.

Letters: F image feature.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np

from mrnn.data.feature_store.shard import UNKNOWN, Stamp
from mrnn.data.feature_store.writer import FeatureWriter
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError, MRNNError, printable
from mrnn.model.image_encoder import ImageEncoder
from mrnn.model.threads import in_threads
from mrnn.shapes import Float, Float16

LARGEST = 65_504
"""The largest number that float16 holds."""
PHOTOS_AT_ONCE = 256
"""Photos that are looked up together."""
BLOCK, BLOCKS_HASHED = 2**20, 64
"""A photo's hash is of its first 64 MiB, read some at a time."""
UNSEEN: Stamp = (UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True)
class _Found:
    """A photo whose row is to be made."""

    name: str
    path: str | Path
    stamp: Stamp
    row: int = -1
    """The row that it takes the place of."""
    feature: np.ndarray | None = None
    """Where it is known already."""


class PhotoUpdate:
    """The photos of a store, while they are brought up to date.

    `on_problem` gets a line for each photo that cannot be encoded; it is left out. The encoder is
    loaded for the first photo that needs it.
    """

    def __init__(
        self,
        writer: FeatureWriter,
        encoder: Callable[[], ImageEncoder],
        on_problem: Callable[[str], None],
    ) -> None:
        self._writer, self._encoder, self._on_problem = writer, cache(encoder), on_problem
        self._lock = Lock()
        self._coming: set[str] = set()  # new photos without a row: not yet, or broken
        self.seen = np.zeros(len(writer.store.kept), dtype=bool)
        """Which rows of the store, as it was at the start, are of photos that came."""
        self.new, self.changed = 0, 0
        """Photos without a row before, and those whose rows were made again."""
        self.lost = 0
        """Rows of what is no photo any more."""
        self.away: list[int] = []
        """Rows of photos that are missing or cannot be read now. They stay."""
        self.broken: list[str] = []
        """Names of photos that cannot be encoded."""

    def add(
        self, photos: Iterable[tuple[str, str | Path]], on_photo: Callable[[], None] = lambda: None
    ) -> None:
        """Photos, each with its name: rows for those that are new or have changed.

        They are encoded in threads; rows and problems come in the order of the photos.
        """
        for found, feature in in_threads(self._found(photos, on_photo), self._feature_of):
            self._take(found, feature)
            on_photo()

    def _found(
        self, photos: Iterable[tuple[str, str | Path]], on_photo: Callable[[], None]
    ) -> Iterator[_Found]:
        """The photos whose rows are to be made or made again."""
        for name, path, row, known in self._looked_up(photos):
            found = None
            if row >= 0:
                if not self.seen[row]:
                    self.seen[row] = True
                    found = self._compare(name, path, row, known)
            elif name not in self._coming and not self._writer.is_added(name):
                self._coming.add(name)
                found = _Found(name, path, stamp_of(path))
            if found:
                yield found
            else:
                on_photo()

    def _looked_up(
        self, photos: Iterable[tuple[str, str | Path]]
    ) -> Iterator[tuple[str, str | Path, int, Stamp]]:
        """Each photo, and what is known of it: its row, -1 for none, and its file as it was."""
        photos, store = iter(photos), self._writer.store
        while block := list(islice(photos, PHOTOS_AT_ONCE)):
            rows = store.find([name for name, _ in block])
            stamps = iter(store.stamps(rows[rows >= 0]).tolist())
            for (name, path), row in zip(block, rows.tolist(), strict=True):
                yield name, path, row, tuple(next(stamps)) if row >= 0 else UNSEEN

    def _compare(self, name: str, path: str | Path, row: int, known: Stamp) -> _Found | None:
        """The photo of a row, if it is not the file that it was."""
        size, changed = size_and_change(path)
        if (size, changed) == known[:2]:
            return None
        now = stamp_of(path)
        if now == UNSEEN:
            self.away.append(row)
            return None
        if (now[0], now[2]) == (known[0], known[2]):  # copied, moved or touched: the same photo
            feature = self._writer.store.take("features", np.array([row]))[0]
            return _Found(name, path, now, row, feature)
        return _Found(name, path, now, row)

    def _feature_of(self, found: _Found) -> tuple[_Found, np.ndarray | MRNNError]:
        """The feature of a photo, or why it has none."""
        if found.feature is not None:
            return found, found.feature
        with self._lock:
            encoder = self._encoder()
        try:
            return found, encode_photo(found.path, encoder)
        except (ImageError, DataError) as error:
            return found, error

    def _take(self, found: _Found, feature: np.ndarray | MRNNError) -> None:
        """What becomes of the row of a photo."""
        if found.row >= 0:
            self._writer.remove([found.row])
        if isinstance(feature, MRNNError):
            self._on_problem(str(feature))
            self.broken.append(found.name)
            self.lost += found.row >= 0
            return
        self._coming.discard(found.name)
        self._writer.add(found.name, found.stamp, feature)
        self.new += found.row < 0
        self.changed += found.row >= 0 and found.feature is None


def size_and_change(photo: str | Path) -> tuple[int, int]:
    """A file's size in bytes and time of its last change in ns; -1 if there is no such file.

    The change is that of the file's content or place: a copy has a time of its own, whatever time
    of modification it was given. Windows has no such time.
    """
    try:
        status = os.stat(photo)
    except (OSError, ValueError):
        return UNSEEN[:2]
    if not stat.S_ISREG(status.st_mode):
        return UNSEEN[:2]
    return status.st_size, status.st_mtime_ns if os.name == "nt" else status.st_ctime_ns


def stamp_of(photo: str | Path) -> Stamp:
    """Of a file as it is now; UNSEEN for one that is missing, or cannot be read."""
    size, changed = size_and_change(photo)
    if changed == UNKNOWN:
        return UNSEEN
    content = hashlib.blake2b(digest_size=8)
    try:
        with open(photo, "rb") as file:
            for _ in range(BLOCKS_HASHED):
                content.update(file.read(BLOCK))
    except OSError:
        return UNSEEN
    return size, changed, int.from_bytes(content.digest(), "little", signed=True)


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
