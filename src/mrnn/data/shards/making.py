"""Photos to tar shards: the same photos give the same bytes, in whatever order they are named."""

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.data.images import SUFFIXES
from mrnn.data.shards.locations import read_location, shown
from mrnn.data.shards.photo import MAX_BYTES, photo_suffix
from mrnn.data.shards.tar import add_to_tar, new_tar, tar_key
from mrnn.errors import DataError
from mrnn.outputs import written_aside

SHARD = re.compile(r"shard-(\d{6,})\.tar")
TEXTS = (".txt", ".json")
"""What may lie beside a photo, with the same name but for its suffix."""


@dataclass(frozen=True)
class KeyedPhoto:
    """A photo of this machine and its key in a shard."""

    key: str
    path: str

    @property
    def files(self) -> list[tuple[str, str]]:
        """It and the texts beside it: names in the shard, and paths."""
        stem = os.path.splitext(self.path)[0]
        texts = [suffix for suffix in TEXTS if os.path.isfile(stem + suffix)]
        photo = (self.key + photo_suffix(self.path), self.path)
        return [photo, *((self.key + suffix, stem + suffix) for suffix in texts)]

    def contents(self) -> list[tuple[str, bytes]]:
        """Names in the shard, and contents. Raises DataError."""
        if not photo_suffix(self.path):
            kinds = ", ".join(SUFFIXES)
            raise DataError(f"{shown(self.path)}: no name of a photo; they end in {kinds}")
        return [(name, read_location(path, MAX_BYTES)) for name, path in self.files]


@dataclass
class Made:
    """What a run has done."""

    shards: int = 0
    kept: int = 0
    """Shards that were there already."""
    photos: int = 0
    failed: int = 0
    """Photos that could not be read."""


def keyed_photos(photos: Iterable[Path], named: Iterable[str | Path]) -> list[KeyedPhoto]:
    """The photos of the files, folders and globs in `named`, in the order of their keys.

    A key is the path below the folder that all of `named` share, without the suffix; of photos that
    differ in their suffix alone, all but the first keep it.
    """
    root = _root(map(str, named))
    below = sorted((_below(os.path.abspath(photo), root), photo) for photo in photos)
    keys: dict[str, KeyedPhoto] = {}
    for name, photo in below:
        stem, suffix = os.path.splitext(name)
        key = tar_key(stem if photo_suffix(name) else name)
        if key in keys:
            key = tar_key(stem + suffix)
        while key in keys:  # a.jpg, a.png and a.png.jpg
            key += "%"
        keys[key] = KeyedPhoto(key, str(photo))
    return [keys[key] for key in sorted(keys)]


def make_shards(
    photos: Sequence[KeyedPhoto],
    folder: Path,
    size: int,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
) -> Made:
    """Write shard-000000.tar and so on, of `size` photos each, as they are, with texts beside them.

    A shard that is there with the same photos stays. `on_problem` gets a line for each photo that
    cannot be read; it is left out. Raises DataError for a folder with shards of other photos.
    """
    made = Made()
    parts = [photos[start : start + size] for start in range(0, len(photos), size)]
    _refuse_others(folder, len(parts))
    for number, part in enumerate(parts):
        file = folder / f"shard-{number:06}.tar"
        if file.exists():
            _check_same(file, part)
            made.kept += 1
            for _ in part:
                on_photo()
        else:
            _write_shard(file, part, made, on_photo, on_problem)
    return made


def _write_shard(
    file: Path,
    photos: Iterable[KeyedPhoto],
    made: Made,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
) -> None:
    with written_aside(file) as stream, new_tar(stream) as archive:
        for photo in photos:
            on_photo()
            try:
                contents = photo.contents()
            except DataError as error:
                made.failed += 1
                on_problem(str(error))
                continue
            for name, content in contents:
                add_to_tar(archive, name, content)
            made.photos += 1
    made.shards += 1


def _root(paths: Iterable[str]) -> str:
    """The deepest folder that holds all that is named."""
    folders = set()
    for path in paths:
        plain = path
        if not os.path.lexists(path):  # a glob: up to the part with its first mark
            plain = re.split(r"[*?\[]", path, maxsplit=1)[0]
        if not os.path.isdir(plain) or (plain != path and not plain.endswith(os.sep)):
            plain = os.path.dirname(plain)
        folders.add(os.path.abspath(plain or os.curdir))
    try:
        return os.path.commonpath(folders)
    except ValueError:  # on several drives, or no paths
        return ""


def _below(path: str, root: str) -> str:
    """A path below the root, with slashes."""
    return (os.path.relpath(path, root) if root else path).replace(os.sep, "/")


def _refuse_others(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(found[1]) for name in os.listdir(folder) if (found := SHARD.fullmatch(name))]
    if max(numbers, default=-1) >= count:
        raise _others(folder)


def _check_same(file: Path, photos: Iterable[KeyedPhoto]) -> None:
    """By the names and sizes of what the shard holds."""
    expected = set()
    for photo in photos:
        if photo_suffix(photo.path) and os.access(photo.path, os.R_OK):
            expected |= {(name, os.stat(path).st_size) for name, path in photo.files}
    try:
        with tarfile.open(file, mode="r:") as archive:
            found = {(member.name, member.size) for member in archive}
    except (OSError, tarfile.TarError):
        found = set()
    if found != expected:
        raise _others(file.parent)


def _others(folder: Path) -> DataError:
    return DataError(
        f"{shown(str(folder))} holds shards of other photos, or of another --size; give another "
        "folder, or remove them"
    )
