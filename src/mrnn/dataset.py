"""The dataset folder: captioned images in splits, written, read and checked.

DATA/dataset.json     format, source, images root, what each split holds
DATA/captions.jsonl   one image a line: name, path below the images root, split, captions
DATA/features/        what encoders saw (see features.py)

The images stay where they lie.
"""

import hashlib
import json
import os
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrnn.errors import DataError, ImageError
from mrnn.images import load_image
from mrnn.text_files import first_problem
from mrnn.tokenization import tokenize

FORMAT = 1
HEADER, CAPTIONS = "dataset.json", "captions.jsonl"

Finding = tuple[bool, str]
"""Whether it would make training, or the measures that steer it, wrong; and what it is."""


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image and what people said of it, word for word."""

    name: str
    """Unique in its dataset, as a file name is in its folder."""
    path: Path
    split: str
    """train, dev, test, or another; empty, if it is in none yet."""
    captions: tuple[str, ...]


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
        if (splits := _count(images)) != header.splits:
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
    images: Iterable[CaptionedImage], folder: Path, *, source: str, images_root: Path
) -> None:
    """Write a dataset folder, or write one anew; its features stay.

    Nothing is touched before all images have been read and found good. Raises DataError.
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
    root = Path(os.path.abspath(images_root))
    lines = []
    for image in every:
        path = Path(os.path.abspath(image.path))
        below = path.relative_to(root) if path.is_relative_to(root) else path
        lines.append(_to_json({**asdict(image), "path": below.as_posix()}, source))
    header = {"format": FORMAT, "source": source, "images": str(root), "splits": _count(every)}
    _write_folder({CAPTIONS: b"".join(lines), HEADER: _to_json(header, source, indent=2)}, folder)


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


def _count(images: Iterable[CaptionedImage]) -> dict[str, dict[str, int]]:
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


class SplitReport(BaseModel):
    """What a split holds; the lengths of its captions in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    captions: int
    shortest: int
    median: float
    mean: float
    percentile_95: int
    longest: int


class CheckReport(BaseModel):
    """What a dataset holds, and what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: dict[str, SplitReport]
    words: int
    """Different words in train."""
    minimum_count: int
    rare_words: float
    """Share of them that occur less than `minimum_count` times."""
    rare_tokens: float
    """Share of the running words of train that are rare."""
    unknown_tokens: float
    """Share of the running words of dev that are rare in train or not there."""
    errors: tuple[str, ...]
    """What would make training, or the measures that steer it, wrong."""
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The report for people."""
        for name, split in self.splits.items():
            yield (
                f"{name}: {split.images} images, {split.captions} captions of {split.shortest} to "
                f"{split.longest} words (median {split.median:g}, mean {split.mean:.1f}, "
                f"95 % within {split.percentile_95})"
            )
        yield (
            f"words: {self.words} in train, {self.rare_words:.1%} of them rare (less than "
            f"{self.minimum_count} times), {self.rare_tokens:.2%} of its text; "
            f"{self.unknown_tokens:.2%} of the text of dev is outside the vocabulary"
        )
        yield from (f"error: {error}" for error in self.errors)
        yield from (f"warning: {warning}" for warning in self.warnings)
        yield f"errors: {len(self.errors)}, warnings: {len(self.warnings)}"


def check_dataset(
    dataset: Dataset, *, minimum_count: int = 3, on_image: Callable[[], None] | None = None
) -> CheckReport:
    """Decode every image, compare splits, count words. `on_image` is called after each image."""
    words = {
        split: [tokenize(caption) for image in dataset.split(split) for caption in image.captions]
        for split in dataset.splits
    }
    counts = Counter(word for caption in words.get("train", []) for word in caption)
    rare = {word: count for word, count in counts.items() if count < minimum_count}
    dev = [word for caption in words.get("dev", []) for word in caption]
    findings = (*_check_images(dataset, on_image), *_check_captions(dataset, words))
    return CheckReport(
        splits={
            name: SplitReport(**size, **_lengths(words[name]))
            for name, size in _count(dataset.images).items()
        },
        words=len(counts),
        minimum_count=minimum_count,
        rare_words=len(rare) / max(1, len(counts)),
        rare_tokens=sum(rare.values()) / max(1, counts.total()),
        unknown_tokens=sum(counts[word] < minimum_count for word in dev) / max(1, len(dev)),
        errors=tuple(text for wrong, text in findings if wrong),
        warnings=tuple(text for wrong, text in findings if not wrong),
    )


def _lengths(captions: Sequence[Sequence[str]]) -> dict[str, Any]:
    lengths = sorted(map(len, captions)) or [0]
    return {
        "shortest": lengths[0],
        "median": statistics.median(lengths),
        "mean": statistics.fmean(lengths),
        "percentile_95": lengths[(len(lengths) * 95 - 1) // 100],
        "longest": lengths[-1],
    }


def _check_images(dataset: Dataset, on_image: Callable[[], None] | None) -> Iterator[Finding]:
    bad: dict[tuple[str, str], list[str]] = defaultdict(list)
    same: dict[str, list[CaptionedImage]] = defaultdict(list)
    for image in dataset.images:
        state, content = _examine(image.path)
        same[content].append(image)
        if state:
            bad[image.split, state].append(content)
        if on_image:
            on_image()
    for (split, state), reasons in bad.items():
        yield True, _some(f"images of {split} {state}", reasons)
    twins: dict[bool, list[str]] = {True: [], False: []}
    for images in same.values():
        if len(images) > 1:
            leak = len({image.split for image in images}) > 1
            twins[leak].append(" = ".join(f"{image.name} ({image.split})" for image in images))
    for leak, names in twins.items():
        if names:
            where = "in more than one split" if leak else "more than once in a split"
            yield leak, _some(f"the same image {where}", names)


def _examine(path: Path) -> tuple[str, str]:
    """Whether an image is missing, broken or neither (""), then why, or the file's hash."""
    if not os.path.exists(path):
        return "missing", str(path)
    try:
        load_image(path, least_side=32)
        with path.open("rb") as file:
            return "", hashlib.file_digest(file, "sha256").hexdigest()
    except (ImageError, OSError) as error:
        return "broken", str(error)


def _check_captions(dataset: Dataset, words: dict[str, list[list[str]]]) -> Iterator[Finding]:
    for split in ("train", "dev"):
        if split not in words:
            yield True, f"no {split} split; there are: {', '.join(words)}"
    for split in words:
        images = dataset.split(split)
        if bare := [image.name for image in images if not image.captions]:
            yield True, _some(f"images of {split} without captions", bare)
        if empty := [i.name for i in images if not all(map(tokenize, i.captions))]:
            yield True, _some(f"images of {split} with a caption that has no words", empty)
    splits_of = Counter(text for said in words.values() for text in {" ".join(w) for w in said})
    if repeated := [text for text, splits in splits_of.items() if text and splits > 1]:
        yield False, _some("captions in more than one split", sorted(repeated))


def _some(what: str, examples: Sequence[str]) -> str:
    """A finding on one line, with three examples."""
    more = f"; and {len(examples) - 3} more" if len(examples) > 3 else ""
    return f"{what} ({len(examples)}): {'; '.join(examples[:3])}{more}"
