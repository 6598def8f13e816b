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
from mrnn.errors import ImageError, counted

SHOWN = 5
"""Examples of a finding that are printed."""

Found = tuple[bool, "Finding"]
"""Whether it makes training, or the measures that steer it, wrong; and what it is."""


class Finding(BaseModel):
    """Something wrong with several photos or captions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    examples: tuple[str, ...] = ()
    """All of them, each a line."""

    def lines(self) -> Iterator[str]:
        """What is wrong, and some of the examples below it."""
        if not self.examples:
            yield self.what
            return
        yield f"{self.what} ({len(self.examples):,}):"
        yield from (f"  {example}" for example in self.examples[:SHOWN])
        if more := len(self.examples[SHOWN:]):
            yield f"  and {more:,} more"


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
    errors: tuple[Finding, ...]
    """What makes training, or the measures that steer it, wrong."""
    warnings: tuple[Finding, ...]
    unreadable: tuple[str, ...]
    """Names of the images that are missing or broken."""

    def lines(self) -> Iterator[str]:
        """The report for people."""
        for name, split in self.splits.items():
            images, captions = counted(split.images, "image"), counted(split.captions, "caption")
            yield (
                f"{name}: {images}, {captions} of {split.shortest} to {split.longest} words "
                f"(median {split.median:g}, mean {split.mean:.1f}, "
                f"95 % within {split.percentile_95})"
            )
        yield (
            f"words: {self.words} in train, {self.rare_words:.1%} of them rare (less than "
            f"{self.minimum_count} times), {self.rare_tokens:.2%} of its text; "
            f"{self.unknown_tokens:.2%} of the text of dev is outside the vocabulary"
        )
        for kind, findings in (("error", self.errors), ("warning", self.warnings)):
            for finding in findings:
                first, *below = finding.lines()
                yield f"{kind}: {first}"
                yield from below
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
    unreadable: list[str] = []
    findings = (*_check_images(dataset, on_image, unreadable), *_check_captions(dataset, words))
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
        errors=tuple(finding for wrong, finding in findings if wrong),
        warnings=tuple(finding for wrong, finding in findings if not wrong),
        unreadable=tuple(unreadable),
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


def _check_images(
    dataset: Dataset, on_image: Callable[[], None] | None, unreadable: list[str]
) -> Iterator[Found]:
    bad: dict[tuple[str, str], list[str]] = defaultdict(list)
    same: dict[str, list[CaptionedImage]] = defaultdict(list)
    for image in dataset.images:
        state, content = _examine(image.path)
        same[content].append(image)
        if state:
            bad[image.split, state].append(content)
            unreadable.append(image.name)
        if on_image:
            on_image()
    for (split, state), reasons in bad.items():
        yield True, _finding(f"images of {split} {state}", reasons)
    twins: dict[bool, list[str]] = {True: [], False: []}
    for images in same.values():
        if len(images) > 1:
            leak = len({image.split for image in images}) > 1
            twins[leak].append(" = ".join(f"{image.name} ({image.split})" for image in images))
    for leak, names in twins.items():
        if names:
            where = "in more than one split" if leak else "more than once in a split"
            yield leak, _finding(f"the same image {where}", names)


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


def _check_captions(dataset: Dataset, words: dict[str, list[tuple[str, ...]]]) -> Iterator[Found]:
    for split in ("train", "dev"):
        if split not in words:
            yield True, _finding(f"no {split} split; there are: {', '.join(words)}")
    for split in words:
        images = dataset.split(split)
        if bare := [image.name for image in images if not image.captions]:
            yield True, _finding(f"images of {split} without captions", bare)
        if empty := [image.name for image in images if not all(image.words)]:
            yield True, _finding(f"images of {split} with a caption that has no words", empty)
    splits_of = Counter(text for said in words.values() for text in set(said))
    if repeated := [" ".join(text) for text, splits in splits_of.items() if text and splits > 1]:
        yield False, _finding("captions in more than one split", sorted(repeated))


def _finding(what: str, examples: Sequence[str] = ()) -> Finding:
    return Finding(what=what, examples=tuple(examples))
