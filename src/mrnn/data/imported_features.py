"""Features made elsewhere, taken into a dataset folder: .npy, .npz or .mat, and a list of photos.

Letters: N rows of the source, K objects in a photo, F image feature.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.feature_store.manifest import Manifest
from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Rows
from mrnn.data.feature_store.store import CONFIG, StoreConfig, read_config
from mrnn.data.feature_store.writer import feature_writer
from mrnn.data.features import features_folder, mend_of, store_config
from mrnn.data.name_matching import ImageNames
from mrnn.errors import DataError, OptionsError, counted
from mrnn.files import read_lines
from mrnn.model.config import EncoderIdentity
from mrnn.model.image_encoder import is_encoder

ROWS_AT_ONCE = 256
MOST_UNPACKED = 200
"""So many times what it takes in an archive an array may hold; features have some 10 times."""
NAMED = "features"
"""The name of the array to read if a file has several."""


def import_features(
    dataset: Dataset, source: Path, ids: Path, name: str
) -> tuple[Path, EncoderIdentity, str | None]:
    """Write them as those of an encoder called `name`, with a note on rows that were left out.

    The array is N x F, or F x N; or N x K x F, such as an object detector makes, of which the mean
    over K is taken, not a number left out. `ids` has the photo of each row: its name, its file
    name, either without the suffix, or the number in a COCO name. Raises OptionsError or DataError.
    """
    if is_encoder(name) or not re.fullmatch(r"[\w.-]+", name):
        raise OptionsError(
            f"--name {name}: give a name of letters and digits that no encoder has, as vgg16-fc7"
        )
    listed = [(number, line.strip()) for number, line in read_lines(ids)]
    matrix = _oriented(read_array(source), len(listed), source, ids)
    rows, unknown = _match(dataset.images, listed, ids)
    identity = EncoderIdentity(
        name=name, layer="imported", resize_mode=None, size=0, feature_size=matrix.shape[-1],
        weights="",
    )  # fmt: skip
    folder = features_folder(dataset, identity)
    manifest = Manifest(folder, store_config(identity), mend_of(dataset, identity))
    names = tuple(image.name for image in dataset.images)
    with manifest.lock():
        if (folder / CONFIG).exists():
            manifest.take_over(read_config(folder, StoreConfig, manifest.mend), rows=False)
        with feature_writer(manifest, at_once=True) as writer:
            for start, block in _blocks(matrix, [rows[name] for name in names]):
                own = names[start : start + len(block)]
                _refuse_bad(block, own, rows, source)
                unseen = np.full((len(own), STAMP), UNKNOWN)
                writer.write(Rows(own, unseen, {"features": block}))
    note = None
    if unknown:
        beyond = counted(len(unknown), "row belongs", "rows belong")
        note = f"{beyond} to no photo of {dataset.folder}, as {unknown[0]}"
    return folder, identity, note


def read_array(file: Path) -> np.ndarray:
    """The array of numbers in a file; a .npy stays on the disk. Raises DataError."""
    suffix = file.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{file}: features come as .npy, .npz or .mat, not as {suffix!r:.20}")
    if file.exists() and not file.is_file():  # a pipe would never answer
        raise DataError(f"{file}: not a plain file; name a file of features")
    try:
        content = READERS[suffix](file)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error!s:.80})") from None
    except MemoryError:
        raise DataError(f"{file}: more than memory holds, or damaged; save a .npy") from None
    except Exception as error:  # numpy and scipy have a dozen kinds for a damaged file
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{file}: damaged, or not what its name says ({line:.80})") from None
    if content.dtype.kind not in "fiu":
        raise DataError(f"{file}: holds {content.dtype!s:.40}, not numbers")
    return np.asanyarray(content)


def _read_npy(file: Path) -> np.ndarray:
    return np.asanyarray(np.load(file, mmap_mode="r", allow_pickle=False))


def _read_npz(file: Path) -> np.ndarray:
    with np.load(file, allow_pickle=False) as archive:
        for entry in archive.zip.infolist():
            if entry.file_size > MOST_UNPACKED * max(entry.compress_size, 1):
                raise DataError(
                    f"{file}: {entry.filename!r:.40} unpacks to {entry.file_size / 1e9:,.1f} GB, "
                    f"over {MOST_UNPACKED} times what it takes here; save a .npy"
                )
        return _only({name: archive[name] for name in archive.files}, file)


def _read_mat(file: Path) -> np.ndarray:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(
            f"{file}: reading .mat needs: pip install 'mrnn[train]'; or save a .npy"
        ) from None
    try:
        found: dict[str, np.ndarray] = loadmat(file)
    except NotImplementedError:
        raise DataError(
            f"{file}: of MATLAB 7.3, which is not read here; save it with -v7, or as .npy"
        ) from None
    arrays = {name: array for name, array in found.items() if not name.startswith("__")}
    return _only(arrays, file)


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    ".npy": _read_npy, ".npz": _read_npz, ".mat": _read_mat,
}  # fmt: skip


def _only(arrays: dict[str, np.ndarray], file: Path) -> np.ndarray:
    """The array of features among several: the only one of two or three axes, or that so named."""
    found = {name: array for name, array in arrays.items() if np.ndim(array) in (2, 3)}
    if len(found) == 1:
        return next(iter(found.values()))
    if NAMED in found:
        return found[NAMED]
    holds = f"several arrays ({', '.join(found):.80})" if found else "no array of rows"
    raise DataError(f"{file}: holds {holds}; name the one of the features {NAMED!r}")


def _oriented(matrix: np.ndarray, count: int, source: Path, ids: Path) -> np.ndarray:
    """A row an id; MATLAB's files often have a column an id."""
    if matrix.ndim in (2, 3) and 0 not in matrix.shape:
        if len(matrix) == count:
            return matrix
        if matrix.ndim == 2 and matrix.shape[1] == count:
            return matrix.T
    raise DataError(f"{source}: holds {matrix.shape}, but {ids} lists {count:,} photos, one a line")


def _match(
    images: Sequence[CaptionedImage], listed: Sequence[tuple[int, str]], ids: Path
) -> tuple[dict[str, int], list[str]]:
    """The row of each image, by name; and the ids that are of none."""
    numbers: dict[str, list[int]] = {}
    for place, image in enumerate(images):
        if number := re.search(r"(?:^|[/_])([0-9]+)(?:\.\w+)?$", image.name):
            numbers.setdefault(number[1].lstrip("0") or "0", []).append(place)
    names = ImageNames(images)
    rows, unknown = dict[str, int](), []
    for row, (line, name) in enumerate(listed):
        found = next(filter(None, map(names.find, (name, name.lstrip("0")))), None)
        found = found or numbers.get(name) or numbers.get(name.lstrip("0")) or []
        if len(found) > 1:
            both = " and ".join(images[place].name for place in found[:2])
            raise DataError(f"{ids}:{line}: {name} may be {both}; write the whole name")
        if not found:
            unknown.append(name)
            continue
        image_name = images[found[0]].name
        if image_name in rows:
            before = listed[rows[image_name]][0]
            raise DataError(f"{ids}:{line}: {name} is listed twice; line {before} has it already")
        rows[image_name] = row
    missing = [image.name for image in images if image.name not in rows]
    if missing:
        near = f"; {unknown[0]} there is of none here" if unknown else ""
        lack = counted(len(missing), "photo lacks", "photos lack")
        raise DataError(f"{ids}: lists no feature of {missing[0]} ({lack} one){near}")
    return rows, unknown


def _blocks(matrix: np.ndarray, rows: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The rows in that order, as float16, some at a time after their place; objects averaged."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = matrix[rows[start : start + ROWS_AT_ONCE]].astype(np.float32)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a photo of nothing but NaN is told about by name
            mean = np.nanmean(block, axis=1) if block.ndim == 3 else block
            yield start, mean.astype(np.float16)


def _refuse_bad(
    block: np.ndarray, names: Sequence[str], rows: dict[str, int], source: Path
) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if len(bad):
        name = names[bad[0]]
        problem = "a value that is no number, or too large (beyond 65,504)"
        raise DataError(f"{source}: row {rows[name] + 1}, of {name}, holds {problem}")
