"""The classes that an image encoder knows, and how its features speak of them.

Most image encoders were trained to tell classes apart. The last layer of a classifier is linear in
the feature that its encoder gives, and the feature of a detector holds the scores of its classes.
tags.safetensors has these last layers, tags.json the everyday words for their classes and what
calibrates them; tools/make_tags.py makes both.

Letters: N photos, F image feature, K classes of ImageNet, D classes of the detector, T tags,
G tags that have classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_form
from mrnn.model import image_encoder
from mrnn.model.config import EncoderIdentity
from mrnn.model.quantization import SCALE
from mrnn.model.tensor_file import (
    TensorForm,
    check_forms,
    read_header,
    read_tensors,
    stored_as,
)
from mrnn.shapes import Bool, Float, Float32, Int

FORMAT = 1
TAGS, CLASSIFIERS = "tags.json", "tags.safetensors"
BIAS = ".bias"
"""Suffix of the name of the tensor (K) with a classifier's biases."""
VALUES = 4
"""Of each class in a detector's feature: best, total, extent and count."""
COUNTED = 3.0
"""Detections that make the value `count` 1."""
LEAST, MOST = 0.03, 0.99
LEAST_SUM, MOST_SUM = 1e-4, 1 - 1e-4
"""A detector's score and a sum of softmax are clipped to these before their log-odds."""
PHOTOS = 1000
"""Photos whose classes are computed at a time."""
MEND = "reinstall mrnn: pip install --force-reinstall --no-deps mrnn"

Temperature = Annotated[float, Field(ge=1e-3, le=1e3)]
Weight = Annotated[float, Field(ge=-80, le=80)]
"""Of log-odds, which lie between -10 and 10: their sum is still one that exp can take."""
Kind = Literal["detector", "leaf", "parent"]
"""What a tag has: a class of the detector, a class of ImageNet, or only classes below it."""


class Entry(BaseModel):
    """A tag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1)
    """The first is shown; all can be searched for."""
    parents: tuple[int, ...] = ()
    """Tags that hold wherever this one does; they stand before it."""


class DetectorClasses(BaseModel):
    """The classes of a detector, in the order of its feature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    scale: float = Field(ge=1e-3, le=1e6)
    """By which its feature is multiplied."""
    tags: tuple[int, ...]


class Calibration(BaseModel):
    """What calibrates the scores of one kind of encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperatures: dict[str, Temperature]
    """Of the softmax, by the names of the classifiers, sorted and joined by "+"."""
    thresholds: dict[Kind, FiniteFloat]
    """The least probability of a tag that is given."""
    weights: tuple[tuple[Weight, Weight, Weight], ...]
    """Of each tag: of d, of c, and the intercept."""


class TagFile(BaseModel):
    """The content of tags.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    tags: tuple[Entry, ...]
    imagenet: tuple[int, ...]
    """The tag of each class of ImageNet."""
    detector: DetectorClasses
    calibrations: dict[str, Calibration]
    """Of encoders with "classifiers", with a "detector", and with "both"."""


@dataclass(frozen=True)
class Classifier:
    """The last layer of a network that tells the classes of ImageNet apart."""

    weights: Int[np.ndarray, "K F"]
    scales: Float32[np.ndarray, "K 1"]
    bias: Float[np.ndarray, " K"]

    def scores(self, features: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N K"]:
        """Before the softmax."""
        scores = features @ self.weights.T.astype(np.float32)
        return np.asarray(scores * self.scales[:, 0] + self.bias.astype(np.float32))


@dataclass(frozen=True)
class _Groups:
    """Tags, and the classes of each and of those below it, one tag after the other."""

    tags: Int[np.ndarray, " G"]
    starts: Int[np.ndarray, " G"]
    classes: Int[np.ndarray, " _"]

    def reduce(
        self, reduceat: Callable[..., np.ndarray], values: Float32[np.ndarray, "N K"]
    ) -> Float32[np.ndarray, "G N"]:
        """Of the values of classes, the sum or the like over those of each tag."""
        return reduceat(values.T[self.classes], self.starts, axis=0)


@dataclass(frozen=True)
class EncoderClasses:
    """The parts of an encoder that know classes, and the tags of these."""

    file: TagFile
    classifiers: Mapping[str, tuple[slice, Classifier]]
    """And their places in a feature."""
    detector: slice | None

    @classmethod
    def of(cls, identity: EncoderIdentity, folder: Path, file: TagFile) -> "EncoderClasses | None":
        """None where no part of the encoder has classes."""
        loaded = _read_classifiers(folder / CLASSIFIERS, _part_names(identity), len(file.imagenet))
        sizes = {name: each.weights.shape[1] for name, each in loaded.items()}
        sizes[file.detector.encoder] = VALUES * len(file.detector.tags)
        places = _places(identity, sizes)
        classifiers = {n: (places[n], each) for n, each in loaded.items() if n in places}
        detector = places.get(file.detector.encoder)
        return cls(file, classifiers, detector) if classifiers or detector else None

    @property
    def kind(self) -> str:
        """The name of its calibration."""
        if not self.classifiers:
            return "detector"
        return "both" if self.detector else "classifiers"

    @property
    def names(self) -> str:
        """The classifiers, sorted and joined."""
        return image_encoder.JOINT.join(sorted(self.classifiers))

    @cached_property
    def ancestors(self) -> list[frozenset[int]]:
        """Of each tag: its parents, their parents, and so on."""
        found: list[frozenset[int]] = []
        for entry in self.file.tags:
            found.append(frozenset(entry.parents).union(*(found[p] for p in entry.parents)))
        return found

    @cached_property
    def _imagenet(self) -> "_Groups":
        return self._groups(self.file.imagenet if self.classifiers else ())

    @cached_property
    def _detected(self) -> "_Groups":
        return self._groups(self.file.detector.tags if self.detector else ())

    def _groups(self, tags: Sequence[int]) -> "_Groups":
        pairs = sorted(
            (tag, place) for place, own in enumerate(tags) for tag in (own, *self.ancestors[own])
        )
        found, places = np.array(pairs, np.int64).reshape(-1, 2).T
        starts = np.flatnonzero(np.diff(found, prepend=-1))
        return _Groups(found[starts], starts, places)

    @cached_property
    def known(self) -> Bool[np.ndarray, "2 T"]:
        """Whether a tag has classes of the detector, and of ImageNet."""
        known = np.zeros((2, len(self.file.tags)), bool)
        for row, groups in zip(known, (self._detected, self._imagenet), strict=True):
            row[groups.tags] = True
        return known

    def log_odds(
        self, features: Float[np.ndarray, "N F"], temperature: float
    ) -> Float32[np.ndarray, "2 N T"]:
        """The values d and c of each tag; 0 where it has no such classes."""
        found = np.zeros((2, len(features), len(self.file.tags)), np.float32)
        for start in range(0, len(features), PHOTOS):
            rows = slice(start, start + PHOTOS)
            part = features[rows].astype(np.float32)
            if self.detector:
                best = self._detected.reduce(np.maximum.reduceat, self.detections(part, 0))
                found[0, rows, self._detected.tags] = _log_odds(best, LEAST, MOST)
            if self.classifiers:
                sums = self._imagenet.reduce(np.add.reduceat, self._softmax(part, temperature))
                found[1, rows, self._imagenet.tags] = _log_odds(sums, LEAST_SUM, MOST_SUM)
        return found

    def _softmax(
        self, features: Float32[np.ndarray, "N F"], temperature: float
    ) -> Float32[np.ndarray, "N K"]:
        every = [each.scores(features[:, place]) for place, each in self.classifiers.values()]
        scores = np.mean(every, axis=0) / np.float32(temperature)
        softmax = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(softmax / softmax.sum(axis=1, keepdims=True))

    def detections(
        self, features: Float[np.ndarray, "N F"], value: int
    ) -> Float32[np.ndarray, "N D"]:
        """One of the `VALUES` of the detector's classes."""
        assert self.detector
        count = len(self.file.detector.tags)
        start = self.detector.start + value * count
        part = features[:, start : start + count].astype(np.float32)
        return np.asarray(part / np.float32(self.file.detector.scale))


def read_tag_file(path: Path) -> TagFile:
    """Raises CheckpointError for a file that is damaged or of another format."""
    try:
        file = read_form(path, TagFile, FORMAT, MEND, MEND)
    except DataError as error:
        raise CheckpointError(error) from None
    count = len(file.tags)
    named = [("a class", tag) for tag in (*file.imagenet, *file.detector.tags)]
    for what, tag in named:
        if not 0 <= tag < count:
            raise CheckpointError(f"{path}: {what} has the tag {tag} of {count}; {MEND}")
    for place, entry in enumerate(file.tags):
        if not all(0 <= parent < place for parent in entry.parents):
            raise CheckpointError(f"{path}: {entry.names[0]!r:.60} stands before a parent; {MEND}")
    for name, calibration in file.calibrations.items():
        if len(calibration.weights) != count:
            raise CheckpointError(
                f"{path}: the calibration {name!r:.60} is of {len(calibration.weights)} tags, not "
                f"{count}; {MEND}"
            )
    return file


def _read_classifiers(path: Path, names: Sequence[str], classes: int) -> dict[str, Classifier]:
    """Those of the names that the file has. Raises CheckpointError."""
    try:
        held = read_header(path).forms
        wanted: dict[str, TensorForm] = {}
        known = [name for name in names if name in held]
        for name in known:
            wanted |= stored_as((classes, None), name)
            wanted[name + BIAS] = TensorForm("F16", (classes,))
        check_forms({name: form for name, form in held.items() if name in wanted}, wanted)
        tensors = read_tensors(path, wanted)
    except ValueError as error:
        raise CheckpointError(f"{path}{error}; {MEND}") from None
    return {
        name: Classifier(tensors[name], tensors[name + SCALE], tensors[name + BIAS])
        for name in known
    }


def _part_names(identity: EncoderIdentity) -> list[str]:
    """The names of the networks whose features are joined, without sizes."""
    parts = identity.name.split(image_encoder.JOINT)
    return [part.partition(image_encoder.AT)[0] for part in parts]


def _places(identity: EncoderIdentity, sizes: Mapping[str, int]) -> dict[str, slice]:
    """Where in a feature its parts lie; none if more than one is of unknown size, or none fits."""
    names = _part_names(identity)
    known = [sizes.get(name) for name in names]
    rest = identity.feature_size - sum(filter(None, known))
    fits = rest > 0 if None in known else rest == 0
    if known.count(None) > 1 or not fits:
        return {}
    ends = np.cumsum([0, *(rest if size is None else size for size in known)]).tolist()
    return {name: slice(*ends) for name, ends in zip(names, pairwise(ends), strict=True)}


def _log_odds(
    values: Float32[np.ndarray, "G N"], least: float, most: float
) -> Float32[np.ndarray, "G N"]:
    clipped = np.clip(values, least, most)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)
