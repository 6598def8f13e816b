"""Captions of systems and their references, matched by image."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from zlib import crc32

import numpy as np

from mrnn.data.name_matching import plain_name
from mrnn.errors import DataError

SHOWN = 3  # names in a note


@dataclass(frozen=True)
class References:
    """The references of each image, and other names of the images."""

    captions: dict[str, tuple[str, ...]]
    other_names: dict[str, str] = field(default_factory=dict)
    """Another name of an image, and its name in `captions`."""

    def find(self, name: str) -> str | None:
        """The image of this name: as it is, or without folders, suffix or COCO's prefix."""
        if name in self.captions:
            return name
        return next((self._index[n] for n in _names(name) if self._index.get(n)), None)

    @cached_property
    def _index(self) -> dict[str, str]:
        """Every form of every name; empty where two images could be meant."""
        index: dict[str, str] = {}
        own = {name: name for name in self.captions}
        for name, image in (*own.items(), *self.other_names.items()):
            for form in _names(name):
                if index.setdefault(form, image) != image:
                    index[form] = ""
        return index


@dataclass(frozen=True)
class Matched:
    """Images that have references and a caption by every system, in the order of the references."""

    images: list[str]
    systems: list[list[str]]
    """For each system, its caption of each image."""
    references: list[tuple[str, ...]]
    notes: list[str]
    """Notes on what was left out."""


def match(systems: Sequence[tuple[str, Mapping[str, str]]], references: References) -> Matched:
    """Match captions and references by image. Raises DataError if no image has both.

    `systems` are names for messages, each with its captions.
    """
    notes: list[str] = []
    found = [_by_image(label, hypotheses, references, notes) for label, hypotheses in systems]
    captioned = {image: texts for image, texts in references.captions.items() if texts}
    for (label, _), by_image in zip(systems, found, strict=True):
        if missing := [image for image in captioned if image not in by_image]:
            notes.append(_left_out(f"images without a caption in {label}", missing))
    if bare := [image for image in references.captions if image not in captioned]:
        notes.append(_left_out("images without references", bare))
    images = [image for image in captioned if all(image in by_image for by_image in found)]
    if not images:
        pairs = zip(systems, found, strict=True)
        alone = next(
            (system for system, by_image in pairs if not by_image.keys() & captioned), None
        )
        if alone is None:
            labels = " and ".join(label for label, _ in systems)
            raise DataError(f"{labels}: no image with references has a caption in each")
        label, hypotheses = alone
        ours, theirs = next(iter(hypotheses)), next(iter(captioned))
        problem = f"no image has both a caption and references: {ours!r} here, {theirs!r} there"
        raise DataError(f"{label}: {problem}")
    return Matched(
        images,
        [[by_image[image] for image in images] for by_image in found],
        [captioned[image] for image in images],
        notes,
    )


def _by_image(
    label: str, hypotheses: Mapping[str, str], references: References, notes: list[str]
) -> dict[str, str]:
    """The captions by the names of the references; a note says which have none."""
    found: dict[str, str] = {}
    strange = []
    for name in hypotheses:
        image = references.find(name)
        if image is None:
            strange.append(name)
        elif image in found:
            raise DataError(f"{label}: {found[image]!r} and {name!r} are one image, {image!r}")
        else:
            found[image] = name
    if strange:
        notes.append(
            _left_out(f"captions in {label} of images that the references do not have", strange)
        )
    return {image: hypotheses[name] for image, name in found.items()}


def sample_references(
    images: Sequence[str], references: Sequence[Sequence[str]], count: int, seed: int
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Sample `count` of each image's references, in their order; a note if some have fewer.

    The sample of an image depends only on its name and the seed.
    """
    sampled = []
    for image, captions in zip(images, references, strict=True):
        generator = np.random.default_rng([seed, crc32(image.encode())])
        size = min(count, len(captions))
        places = sorted(generator.choice(len(captions), size, replace=False).tolist())
        sampled.append(tuple(captions[place] for place in places))
    pairs = zip(images, sampled, strict=True)
    fewer = [image for image, captions in pairs if len(captions) < count]
    what = f"fewer than {count} references"
    return sampled, [f"{what}: {len(fewer):,} ({_some(fewer)})"] if fewer else []


def _names(name: str) -> Iterator[str]:
    """The forms of a name: as it is, then without folders, suffix and COCO's prefix."""
    plain = plain_name(name)
    yield plain
    base = plain.rpartition("/")[2]
    yield base
    stem = re.sub(r"(?i)\.(?:jpe?g|png|gif|bmp|webp|avif|hei[cf]|tiff?|jp2|ppm)$", "", base)
    yield stem
    number = re.sub(r"^COCO_[a-z]+\d{4}_", "", stem)
    if number.isascii() and number.isdecimal():
        yield number.lstrip("0") or "0"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _left_out(what: str, names: Sequence[str]) -> str:
    return f"left out, {what}: {len(names):,} ({_some(names)})"
