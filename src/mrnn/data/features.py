"""The feature store: one memory-mapped vector a photo, and the identity of what made them.

DATA/features/<encoder>-<fit>.npy holds fp16, a row a photo; the .json beside it names the encoder
and the photos. While extraction goes on, both carry `.partial` in their names. Features made
elsewhere are <name>-imported.npy.

Letters: N images, F image feature.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError
from mrnn.files import first_problem, write_whole
from mrnn.model.config import EncoderIdentity, ResizeMode
from mrnn.model.image_encoder import ImageEncoder, is_encoder
from mrnn.shapes import Float16, Int

FORMAT = 1
BATCH = 16


class Provenance(BaseModel):
    """What the file beside a feature matrix says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    encoder: EncoderIdentity
    names: tuple[str, ...]
    """Of the photos, in the order of the rows."""


@dataclass(frozen=True)
class Features:
    """The features of a dataset's photos by one encoder."""

    matrix: Float16[np.ndarray, "N F"]
    encoder: EncoderIdentity
    rows: dict[str, int]

    def rows_of(self, images: Sequence[CaptionedImage]) -> Int[np.ndarray, " N"]:
        """Where the features of these images are in the matrix."""
        return np.array([self.rows[image.name] for image in images], dtype=np.int64)

    def of(self, images: Sequence[CaptionedImage]) -> Float16[np.ndarray, "N F"]:
        """The features of these images, in their order, in memory."""
        features: np.ndarray = self.matrix[self.rows_of(images)]
        return features


def features_file(dataset: Dataset, encoder: EncoderIdentity) -> Path:
    """Where the features of one encoder are."""
    name = re.sub(r"[^\w.-]", "-", encoder.name)  # timm:... is no name for a file
    return dataset.features_folder / f"{name}-{encoder.fit or 'imported'}.npy"


def recorded_encoder(dataset: Dataset, name: str, fit: ResizeMode) -> EncoderIdentity:
    """Whose features of that name are in the dataset folder: extracted with `fit`, or imported.

    Loads no encoder. Raises DataError if there are none.
    """
    for way in (None, fit):
        asked = EncoderIdentity(name=name, layer="", fit=way, size=0, feature_size=0, weights="")
        sidecar = features_file(dataset, asked).with_suffix(".json")
        if sidecar.exists():
            return _read_provenance(sidecar, _mend(dataset, asked)).encoder
    if is_encoder(name):
        raise DataError(f"{sidecar.with_suffix('.npy')} does not exist. {_mend(dataset, asked)}")
    there = sorted(file.stem for file in dataset.features_folder.glob("*.json"))
    has = f"it has {', '.join(there)}" if there else "it has none yet"
    raise DataError(f"{dataset.folder} has no features named {name!r}, and no encoder is; {has}")


def _mend(dataset: Dataset, encoder: EncoderIdentity) -> str:
    if encoder.imported:
        source = f"--from FEATURES --ids IDS --name {encoder.name}"
    else:
        source = f"--encoder {encoder.name} --fit {encoder.fit}"
    return f"Run: mrnn extract {dataset.folder} {source}"


def load_features(dataset: Dataset, encoder: EncoderIdentity) -> Features:
    """The features that `mrnn extract` made; refuses damaged ones, another encoder's or photos'."""
    file, mend = features_file(dataset, encoder), _mend(dataset, encoder)
    if not file.exists():
        raise DataError(f"{file} does not exist. {mend}")
    provenance = _read_provenance(file.with_suffix(".json"), mend)
    if provenance.encoder != encoder:
        raise DataError(f"{file} was made by {provenance.encoder}, not by {encoder}. {mend}")
    try:
        matrix = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # the header is parsed as Python: a damaged one raises anything
        raise DataError(f"{file} cannot be read ({_line(error)}). {mend}") from error
    shape = (len(provenance.names), encoder.feature_size)
    if matrix.shape != shape or matrix.dtype != np.float16:
        raise DataError(
            f"{file} holds {matrix.dtype} of shape {matrix.shape}, not float16 of {shape}. {mend}"
        )
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~np.isfinite(matrix.sum(axis=1, dtype=np.float32)))
    if len(bad):
        raise DataError(f"{file} holds no finite feature of {provenance.names[bad[0]]!r}. {mend}")
    rows = {name: row for row, name in enumerate(provenance.names)}
    for image in dataset.images:
        if image.name not in rows:
            raise DataError(f"{file} has no feature of {image.name!r}. {mend}")
    return Features(matrix, encoder, rows)


def extract_features(
    dataset: Dataset, encoder: ImageEncoder, on_image: Callable[[], None] = lambda: None
) -> Path:
    """The features of every photo of a dataset; an interrupted run goes on where it stopped.

    Nothing is done where they are there already; what `load_features` refuses is made anew.
    """
    file = features_file(dataset, encoder.identity)
    names = tuple(image.name for image in dataset.images)
    provenance = Provenance(encoder=encoder.identity, names=names)
    with suppress(DataError):
        load_features(dataset, encoder.identity)
        _clear(file)  # of a run that was killed at its very end
        for _ in names:
            on_image()
        return file
    matrix, done = _open_partial(file, provenance)
    for _ in range(done):
        on_image()
    for start in range(done, len(names), BATCH):
        pixels = []
        for image in dataset.images[start : start + BATCH]:
            try:
                photo = load_image(image.path, least_side=encoder.identity.least_side)
            except ImageError as error:
                raise DataError(f"{error}. Run: mrnn check {dataset.folder}") from error
            pixels.append(encoder.preprocess(photo))
            on_image()
        matrix[start : start + len(pixels)] = encoder.encode(np.stack(pixels))
        matrix.flush()
        write_whole(file.with_suffix(".progress"), str(start + len(pixels)))
    del matrix
    return finish_features(file, provenance)


def finish_features(file: Path, provenance: Provenance) -> Path:
    """Give a filled matrix, FILE.partial.npy, its name and its sidecar."""
    partial = file.with_suffix(".partial.npy")
    sidecar = file.with_suffix(".json")
    sidecar.unlink(missing_ok=True)  # it must never vouch for features of another time
    partial.replace(file)
    write_whole(sidecar, provenance.model_dump_json())
    _clear(file)
    return file


def _clear(file: Path) -> None:
    """Remove what only an unfinished extraction needs."""
    file.with_suffix(".partial.json").unlink(missing_ok=True)
    file.with_suffix(".progress").unlink(missing_ok=True)


def _open_partial(file: Path, provenance: Provenance) -> tuple[np.memmap, int]:
    """The matrix to fill, and how many of its rows are there already."""
    partial, sidecar = file.with_suffix(".partial.npy"), file.with_suffix(".partial.json")
    progress = file.with_suffix(".progress")
    shape = (len(provenance.names), provenance.encoder.feature_size)
    try:
        if _read_provenance(sidecar, "") == provenance:
            matrix = np.lib.format.open_memmap(partial, mode="r+")
            if matrix.shape == shape and matrix.dtype == np.float16:
                return matrix, int(progress.read_text())
    except Exception:  # noqa: S110 (as above)
        pass  # nothing to go on from
    progress.unlink(missing_ok=True)
    matrix = new_matrix(partial, shape)
    write_whole(sidecar, provenance.model_dump_json())
    return matrix, 0


def new_matrix(file: Path, shape: tuple[int, int]) -> np.memmap:
    """A matrix to fill, on disk. Raises DataError, and leaves no file, where there is no room.

    Where the system can, all of its space is taken now: a memory map on a disk that fills up would
    kill the process.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        matrix = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        problem = error.strerror or "no space left"  # numpy's have no number
        raise DataError(f"{file}: the features cannot be written ({problem})") from error
    return matrix


def _read_provenance(file: Path, mend: str) -> Provenance:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise DataError(
                f"{file} has format {content.get('format')!r}; this version reads {FORMAT}. {mend}"
            )
        return Provenance.model_validate(content)
    except ValidationError as error:
        problem = first_problem(error)
        raise DataError(f"{file} is not what `mrnn extract` writes ({problem}). {mend}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({_line(error)}). {mend}") from error


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
