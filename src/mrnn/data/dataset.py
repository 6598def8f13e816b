"""The dataset folder: captioned images in splits, written and read.

DATA/dataset.json     format, source, images root, what each split holds
DATA/captions.jsonl   one image a line: name, path below the images root, split, captions
DATA/features/        image features (see features.py)

The images stay where they lie.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrnn.errors import DataError
from mrnn.files import first_problem
from mrnn.tokenizer import tokenize

FORMAT = 1
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

    @property
    def words(self) -> list[list[str]]:
        """The captions as lists of words."""
        return [tokenize(caption) for caption in self.captions]


@dataclass(frozen=True)
class Dataset:
    """Captioned images in the order in which they were written."""

    folder: Path
    images: tuple[CaptionedImage, ...]

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """Raises DataError, with file and line, for whatever is wrong. Needs no image file."""
        header = _read_header(folder)
        images = tuple(_read_captions(folder / CAPTIONS, Path(header.images)))
        if (splits := count_splits(images)) != header.splits:
            problem = f"holds {splits}, but {HEADER} says {header.splits}; run mrnn prepare again"
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
    _refuse_others_folder(folder)
    every = tuple(images)
    if not every:
        raise DataError(f"{source}: no captioned images, so there is no dataset to write")
    name, times = Counter(image.name for image in every).most_common(1)[0]
    if times > 1:
        raise DataError(f"{source}: {times} images are named {name!r}; names must be unique")
    if outside := [image.name for image in every if not image.split]:
        raise DataError(f"{source}: {outside[0]} is in no split; split the images first")
    holders = [images_root] if images_root else [image.path.parent for image in every]
    root = Path(os.path.commonpath([os.path.abspath(holder) for holder in holders]))
    lines = []
    for image in every:
        path = Path(os.path.abspath(image.path))
        below = path.relative_to(root) if path.is_relative_to(root) else path
        lines.append(_to_json({**asdict(image), "path": below.as_posix()}, source))
    splits = count_splits(every)
    header = {"format": FORMAT, "source": source, "images": str(root), "splits": splits}
    _write_folder({CAPTIONS: b"".join(lines), HEADER: _to_json(header, source, indent=2)}, folder)


def leave_out(dataset: Dataset, names: Iterable[str]) -> None:
    """Write a dataset folder anew, without these images. Raises DataError if none is left."""
    header, left_out = _read_header(dataset.folder), set(names)
    kept = (image for image in dataset.images if image.name not in left_out)
    write_dataset(kept, dataset.folder, source=header.source, images_root=Path(header.images))


def _refuse_others_folder(folder: Path) -> None:
    try:
        if os.listdir(folder):
            _read_header(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; choose another folder") from None
    except DataError as error:
        problem = f"holds something else, which is left as it is ({error}); choose another folder"
        raise DataError(f"{folder}: {problem}") from None


def _to_json(value: dict[str, Any], source: str, indent: int | None = None) -> bytes:
    text = json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{source}: not Unicode: {value!a}; rename the file") from None


def _write_folder(files: dict[str, bytes], folder: Path) -> None:
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as sibling:
            for name, content in files.items():
                Path(sibling, name).write_bytes(content)
            for name in files:
                os.replace(Path(sibling, name), folder / name)
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); choose another folder"
        raise DataError(f"{folder}: {problem}") from None


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
        header = json.loads(file.read_bytes())
    except OSError as error:
        problem = f"not a dataset folder ({HEADER}: {error.strerror}); mrnn prepare makes one"
        raise DataError(f"{folder}: {problem}") from None
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); run mrnn prepare again") from None
    number = header.get("format") if isinstance(header, dict) else None
    if type(number) is not int:
        raise DataError(f"{file}: no format number; not made by mrnn prepare")
    if number > FORMAT:
        raise DataError(f"{file}: format {number}, made by a newer mrnn; this one reads {FORMAT}")
    try:
        return _Header.model_validate(header)
    except ValidationError as error:
        raise DataError(f"{file}: {first_problem(error)}; run mrnn prepare again") from None


def _read_captions(file: Path, root: Path) -> Iterator[CaptionedImage]:
    line_of: dict[str, int] = {}
    try:
        lines = file.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}; run mrnn prepare again") from None
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
