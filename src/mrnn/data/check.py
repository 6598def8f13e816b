"""A dataset checked: broken images, leaks between splits, lengths, rare words."""

import hashlib
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mrnn.data.dataset import CaptionedImage, Dataset, count_splits
from mrnn.data.images import load_image
from mrnn.errors import ImageError
from mrnn.tokenizer import tokenize

Finding = tuple[bool, str]
"""A problem; an error makes training, or the measures that steer it, wrong."""


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
    """The content of a dataset, and what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: dict[str, SplitReport]
    words: int
    """Different words in train."""
    minimum_count: int
    rare_words: float
    """Fraction of them that occur less than `minimum_count` times."""
    rare_tokens: float
    """Fraction of the running words of train that are rare."""
    unknown_tokens: float
    """Fraction of the running words of dev that are rare in train or not there."""
    errors: tuple[str, ...]
    """Findings that make training, or the measures that steer it, wrong."""
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
        split: [words for image in dataset.split(split) for words in image.words]
        for split in dataset.splits
    }
    counts = Counter(word for caption in words.get("train", []) for word in caption)
    rare = {word: count for word, count in counts.items() if count < minimum_count}
    dev = [word for caption in words.get("dev", []) for word in caption]
    findings = (*_check_images(dataset, on_image), *_check_captions(dataset, words))
    return CheckReport(
        splits={
            name: SplitReport(**size, **_lengths(words[name]))
            for name, size in count_splits(dataset.images).items()
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
