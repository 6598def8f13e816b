"""The dataset folder: captioned images in splits, written and read.

DATA/dataset.json     format, source, images root, what each split holds
DATA/captions.jsonl   one image a line: name, path below the images root, split, captions
DATA/features/        image features (see features.py)

The images stay where they lie.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrnn.errors import DataError
from mrnn.files import first_problem, read_form
from mrnn.locks import locked_folder
from mrnn.outputs import finish_replacement, replace_together
from mrnn.tokenizer import tokenize

FORMAT = 1
AGAIN = "run mrnn prepare again"
HEADER, CAPTIONS = "dataset.json", "captions.jsonl"


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image with its captions, as people wrote them."""

    name: str
    """Unique in its dataset, as a file name is in its folder."""
    path: Path
    split: str
    """train, dev, test, or another; empty, if it is in none yet."""
    captions: tuple[str, ...]

    _words: tuple[tuple[str, ...], ...] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each caption, found once."""
        if self._words is None:
            words = tuple(tuple(tokenize(caption)) for caption in self.captions)
            object.__setattr__(self, "_words", words)
            return words
        return self._words


@dataclass(frozen=True)
class Dataset:
    """Captioned images in the order in which they were written."""

    folder: Path
    images: tuple[CaptionedImage, ...]

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """Raises DataError, with file and line, for whatever is wrong. Needs no image file."""
        finish_replacement(folder)
        header = _read_header(folder)
        images = tuple(_read_captions(folder / CAPTIONS, Path(header.images)))
        if (splits := count_splits(images)) != header.splits:
            told = [f"{_described(each):.100}" for each in (splits, header.splits)]
            problem = f"holds {told[0]}, but {HEADER} says {told[1]}; {AGAIN}"
            raise DataError(f"{folder / CAPTIONS}: {problem}")
        return cls(folder, images)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order of appearance."""
        return tuple(dict.fromkeys(image.split for image in self.images))

    def split(self, name: str) -> tuple[CaptionedImage, ...]:
        """The images of one split."""
        if name not in self.splits:
            there = ", ".join(self.splits)
            raise DataError(f"{self.folder}: no split {name!r}; there are: {there}")
        return tuple(image for image in self.images if image.split == name)

    @property
    def features_folder(self) -> Path:
        """Where the feature files of this dataset belong."""
        return self.folder / "features"


def _described(splits: dict[str, dict[str, int]]) -> str:
    """As train: 6000 images, 30000 captions; dev: ..."""
    return "; ".join(
        f"{name:.40}: " + ", ".join(f"{count} {what:.40}" for what, count in sizes.items())
        for name, sizes in splits.items()
    )


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    source: str
    images: str
    splits: dict[str, dict[str, int]]


class _Record(BaseModel):
    """A line of captions.jsonl."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)
    split: str = Field(min_length=1)
    captions: tuple[str, ...]


def write_dataset(
    images: Iterable[CaptionedImage], folder: Path, *, source: str, images_root: Path | None = None
) -> None:
    """Write or replace a dataset folder; its features stay.

    Without `images_root` it is the nearest folder that holds all images. Nothing is written before
    all images have been read and checked. Raises DataError.
    """
    try:
        with locked_folder(folder):
            finish_replacement(folder)
            _refuse_others_folder(folder)
            replace_together(folder, _files_of(tuple(images), source, images_root))
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); choose another folder"
        raise DataError(f"{folder}: {problem}") from None


def _files_of(
    images: Sequence[CaptionedImage], source: str, images_root: Path | None
) -> dict[str, bytes]:
    """The content of the files of a dataset folder, by name."""
    if not images:
        raise DataError(f"{source}: no captioned images, so there is no dataset to write")
    name, times = Counter(image.name for image in images).most_common(1)[0]
    if times > 1:
        raise DataError(f"{source}: {times} images are named {name!r:.80}; names must be unique")
    if outside := [image.name for image in images if not image.split]:
        raise DataError(f"{source}: {outside[0]:.80} is in no split; split the images first")
    holders = [images_root] if images_root else [image.path.parent for image in images]
    root = Path(os.path.commonpath([os.path.abspath(holder) for holder in holders]))
    lines = []
    for image in images:
        path = Path(os.path.abspath(image.path))
        below = path.relative_to(root) if path.is_relative_to(root) else path
        record = {"name": image.name, "path": below.as_posix(), "split": image.split}
        lines.append(_to_json({**record, "captions": image.captions}, source))
    header = {"format": FORMAT, "source": source, "images": str(root)}
    header["splits"] = count_splits(images)
    return {CAPTIONS: b"".join(lines), HEADER: _to_json(header, source, indent=2)}


def leave_out(dataset: Dataset, names: Iterable[str]) -> None:
    """Write a dataset folder anew, without these images. Raises DataError if none is left."""
    header, left_out = _read_header(dataset.folder), set(names)
    kept = (image for image in dataset.images if image.name not in left_out)
    write_dataset(kept, dataset.folder, source=header.source, images_root=Path(header.images))


def _refuse_others_folder(folder: Path) -> None:
    if all(name.startswith(".mrnn-") for name in os.listdir(folder)):
        return
    try:
        _read_header(folder)
    except DataError as error:
        problem = f"holds something else, which is left as it is ({error}); choose another folder"
        raise DataError(f"{folder}: {problem}") from None


def _to_json(value: dict[str, Any], source: str, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{source}: not Unicode: {value!a}; rename the file") from None


def count_splits(images: Iterable[CaptionedImage]) -> dict[str, dict[str, int]]:
    """Images and captions of each split, in order of appearance."""
    sizes: dict[str, dict[str, int]] = {}
    for image in images:
        size = sizes.setdefault(image.split, {"images": 0, "captions": 0})
        size["images"] += 1
        size["captions"] += len(image.captions)
    return sizes


def _read_header(folder: Path) -> _Header:
    file = folder / HEADER
    try:
        file.stat()
    except OSError as error:
        problem = f"not a dataset folder ({HEADER}: {error.strerror}); mrnn prepare makes one"
        raise DataError(f"{folder}: {problem}") from None
    return read_form(file, _Header, FORMAT, AGAIN, AGAIN)


def _read_captions(file: Path, root: Path) -> Iterator[CaptionedImage]:
    line_of: dict[str, int] = {}
    try:
        lines = file.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; {AGAIN}") from None
    for number, line in enumerate(lines, start=1):
        try:
            record = _Record.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{file}:{number}: {first_problem(error)}") from None
        if record.name in line_of:
            before = f"line {line_of[record.name]} has that name too"
            raise DataError(f"{file}:{number}: name {record.name!r}: {before}")
        line_of[record.name] = number
        yield CaptionedImage(record.name, root / record.path, record.split, record.captions)
