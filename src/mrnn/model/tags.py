"""Tags of a photo: what its encoder's own classes see, with calibrated probabilities.

Most image encoders were trained to tell classes apart. The last layer of a classifier is linear in
the feature that its encoder gives, and the feature of a detector holds the scores of its classes.
tags.safetensors has these last layers, tags.json the everyday words for their classes and what
calibrates them; tools/make_tags.py makes both.

The probability of a tag is sigmoid(a d + b c + e): d is the log-odds of the detector's best score
of its classes, c the log-odds of the sum of the softmax over its classes of ImageNet. Scores of
several classifiers are averaged before the softmax.

Letters: N photos, F image feature, K classes of ImageNet, D classes of the detector, T tags.
Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for the calibration.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_serializer
from safetensors import SafetensorError, safe_open

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_json
from mrnn.model import image_encoder
from mrnn.model.config import EncoderIdentity
from mrnn.model.quantization import SCALE
from mrnn.shapes import Bool, Float, Float32, Int
from mrnn.tokenizer import tokenize

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
ROWS = 250
"""Rows of an int8 matrix that become float32 at a time."""
PHOTOS = 1000
"""Photos whose classes are computed at a time."""
MEND = "reinstall mrnn: pip install --force-reinstall --no-deps mrnn"
IRREGULAR = {"mouse": "mice", "sheep": "sheep", "knife": "knives", "goose": "geese", "ox": "oxen"}
ENDINGS = (("ves", "fe"), ("ies", "y"), ("es", ""), ("s", ""))
"""Of plurals, and of their singulars."""

Kind = Literal["detector", "leaf", "parent"]
"""What a tag has: a class of the detector, a class of ImageNet, or only classes below it."""


class Tag(BaseModel):
    """What is in a photo, in an everyday word."""

    model_config = ConfigDict(frozen=True)

    tag: str
    probability: float
    """0..1: that people who describe the photo name it."""
    count: int | None = None
    """How many a detector sees, 9 at most; None without one."""

    def __str__(self) -> str:
        return self.tag if (self.count or 1) == 1 else f"{self.count} {plural(self.tag)}"

    @model_serializer
    def _serialize(self) -> dict[str, Any]:
        """JSON has no key for a count that is not known."""
        content: dict[str, Any] = {"tag": self.tag, "probability": self.probability}
        return content if self.count is None else content | {"count": self.count}


def plural(name: str) -> str:
    """Of an everyday word or phrase: "wine glasses"."""
    rest, space, word = name.rpartition(" ")
    if word in IRREGULAR:
        word = IRREGULAR[word]
    elif word.endswith(("ss", "x", "ch", "sh")):
        word += "es"
    elif word == "bus":
        word = "buses"
    elif re.search("[^aeiou]y$", word):
        word = f"{word[:-1]}ies"
    elif not word.endswith("s"):
        word += "s"
    return f"{rest}{space}{word}"


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
    scale: FiniteFloat = Field(gt=0)
    """By which its feature is multiplied."""
    tags: tuple[int, ...]


class Calibration(BaseModel):
    """What calibrates the scores of one kind of encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: FiniteFloat = Field(gt=0)
    """Of the softmax."""
    thresholds: dict[Kind, FiniteFloat]
    """The least probability of a tag that is given."""
    weights: tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat], ...]
    """Of each tag: of d, of c, and the intercept."""


class TagFile(BaseModel):
    """The content of tags.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    tags: tuple[Entry, ...]
    classes: tuple[int, ...]
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
        scores = np.empty((len(features), len(self.weights)), np.float32)
        for start in range(0, len(self.weights), ROWS):
            rows = slice(start, start + ROWS)
            scores[:, rows] = features @ self.weights[rows].astype(np.float32).T
        return np.asarray(scores * self.scales[:, 0] + self.bias.astype(np.float32))


@dataclass(frozen=True)
class Evidence:
    """How the features of an encoder speak of tags."""

    file: TagFile
    classifiers: Sequence[tuple[slice, Classifier]]
    """And their places in a feature."""
    detector: slice | None

    @classmethod
    def of(cls, identity: EncoderIdentity, folder: Path, file: TagFile) -> "Evidence | None":
        """None where no part of the encoder has classes."""
        loaded = _read_classifiers(folder / CLASSIFIERS, _part_names(identity), len(file.classes))
        sizes = {name: each.weights.shape[1] for name, each in loaded.items()}
        sizes[file.detector.encoder] = VALUES * len(file.detector.tags)
        places = _places(identity, sizes)
        classifiers = [(places[name], each) for name, each in loaded.items() if name in places]
        detector = places.get(file.detector.encoder)
        return cls(file, classifiers, detector) if classifiers or detector else None

    @property
    def kind(self) -> str:
        """The name of its calibration."""
        if not self.classifiers:
            return "detector"
        return "both" if self.detector else "classifiers"

    @cached_property
    def ancestors(self) -> list[frozenset[int]]:
        """Of each tag: its parents, their parents, and so on."""
        found: list[frozenset[int]] = []
        for entry in self.file.tags:
            found.append(frozenset(entry.parents).union(*(found[p] for p in entry.parents)))
        return found

    @cached_property
    def _class_pairs(self) -> Int[np.ndarray, "2 _"]:
        """Classes of ImageNet and the tags that hold where they do."""
        return self._pairs(self.file.classes if self.classifiers else ())

    @cached_property
    def _detector_pairs(self) -> Int[np.ndarray, "2 _"]:
        """Classes of the detector and the tags that hold where they do."""
        return self._pairs(self.file.detector.tags if self.detector else ())

    def _pairs(self, tags: Sequence[int]) -> Int[np.ndarray, "2 _"]:
        pairs = [
            (place, tag)
            for place, own in enumerate(tags)
            for tag in (own, *sorted(self.ancestors[own]))
        ]
        return np.array(pairs, np.int64).reshape(-1, 2).T

    @cached_property
    def known(self) -> Bool[np.ndarray, "2 T"]:
        """Whether a tag has classes of the detector, and of ImageNet."""
        known = np.zeros((2, len(self.file.tags)), bool)
        known[0, self._detector_pairs[1]] = True
        known[1, self._class_pairs[1]] = True
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
                found[0, rows] = self._detected(part)
            if self.classifiers:
                found[1, rows] = self._classified(part, temperature)
        return found

    def _detected(self, features: Float32[np.ndarray, "N F"]) -> Float32[np.ndarray, "N T"]:
        classes, tags = self._detector_pairs
        best = self.detections(features, 0)
        largest = np.zeros((len(self.file.tags), len(features)), np.float32)
        np.maximum.at(largest, tags, best.T[classes])
        return np.asarray(_log_odds(largest.T, LEAST, MOST) * self.known[0])

    def _classified(
        self, features: Float32[np.ndarray, "N F"], temperature: float
    ) -> Float32[np.ndarray, "N T"]:
        every = [each.scores(features[:, place]) for place, each in self.classifiers]
        scores = np.mean(every, axis=0) / np.float32(temperature)
        scores -= scores.max(axis=1, keepdims=True)
        softmax = np.exp(scores)
        softmax /= softmax.sum(axis=1, keepdims=True)
        classes, tags = self._class_pairs
        sums = np.zeros((len(self.file.tags), len(features)), np.float32)
        np.add.at(sums, tags, softmax.T[classes])
        return np.asarray(_log_odds(sums.T, LEAST_SUM, MOST_SUM) * self.known[1])

    def detections(
        self, features: Float[np.ndarray, "N F"], value: int
    ) -> Float32[np.ndarray, "N D"]:
        """One of the `VALUES` of the detector's classes."""
        assert self.detector
        count = len(self.file.detector.tags)
        start = self.detector.start + value * count
        part = features[:, start : start + count].astype(np.float32)
        return np.asarray(part / np.float32(self.file.detector.scale))


@dataclass(frozen=True)
class Tagger:
    """Gives photos tags, by their features."""

    evidence: Evidence
    calibration: Calibration

    @classmethod
    def for_encoder(cls, identity: EncoderIdentity, folder: Path | None = None) -> "Tagger | None":
        """Of the classes of an encoder's parts; None where none has any.

        `folder` holds the files, if not the package. Raises CheckpointError for a file that is
        damaged, or a list of classes that does not fit.
        """
        folder = folder or image_encoder.SHIPPED
        if identity.imported or not (folder / TAGS).exists():
            return None
        file = read_tag_file(folder / TAGS)
        evidence = Evidence.of(identity, folder, file)
        if evidence is None:
            return None
        if evidence.kind not in file.calibrations:
            raise CheckpointError(
                f"{folder / TAGS} lacks the calibration {evidence.kind!r}; {MEND}"
            )
        return cls(evidence, file.calibrations[evidence.kind])

    def tags(self, features: Float[np.ndarray, "N F"]) -> list[tuple[Tag, ...]]:
        """The tags of each photo: the detector's, then the others, each by falling probability.

        The most specific tags whose probability reaches its threshold are given.
        """
        probabilities = self.probabilities(features)
        given = probabilities >= self._thresholds
        counts = self._counts(features)
        return list(map(self._tags_of_photo, probabilities, given, counts))

    def probabilities(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N T"]:
        """Of all tags; 0 of those of which the encoder knows nothing."""
        detected, classified = self.evidence.log_odds(features, self.calibration.temperature)
        a, b, intercept = np.array(self.calibration.weights, np.float32).T
        log_odds = detected * a + classified * b + intercept
        return np.asarray(self.evidence.known.any(axis=0) / (1 + np.exp(-log_odds)))

    def find(self, word: str) -> tuple[str, ...]:
        """The tags that a word or phrase names, in the singular or plural, best known first."""
        return tuple(self._names[tag][0] for tag in self._find(word))

    def score(self, word: str, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " N"]:
        """The probability of the tag that a word names, the likeliest of several.

        Raises DataError for a word that names none.
        """
        found = self._find(word)
        if not found:
            raise DataError(f"{word!r:.60} is the name of no tag")
        return np.asarray(self.probabilities(features)[:, found].max(axis=1))

    @cached_property
    def kinds(self) -> list[Kind]:
        """Of each tag."""
        file = self.evidence.file
        detected = set(file.detector.tags) if self.evidence.detector else set()
        parents = {parent for entry in file.tags for parent in entry.parents}
        return [
            "detector" if tag in detected else "parent" if tag in parents else "leaf"
            for tag in range(len(file.tags))
        ]

    @property
    def _names(self) -> list[tuple[str, ...]]:
        return [entry.names for entry in self.evidence.file.tags]

    @cached_property
    def _thresholds(self) -> Float[np.ndarray, " T"]:
        return np.array([self.calibration.thresholds.get(kind, 2.0) for kind in self.kinds])

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for tag, names in enumerate(self._names):
            if self.evidence.known[:, tag].any():
                for name in names:
                    found.setdefault(" ".join(tokenize(name)), []).append(tag)
        return found

    def _find(self, word: str) -> list[int]:
        asked = " ".join(tokenize(word))
        return next(filter(None, map(self._by_name.get, _singulars(asked))), [])

    def _counts(self, features: Float[np.ndarray, "N F"]) -> list[dict[int, int]]:
        """How many the detector sees of each of its classes that it sees at all."""
        if not self.evidence.detector:
            return [{} for _ in features]
        tags = self.evidence.file.detector.tags
        counts = np.rint(self.evidence.detections(features, VALUES - 1) * COUNTED).astype(int)
        return [
            {tags[place]: int(row[place]) for place in np.flatnonzero(row > 0)} for row in counts
        ]

    def _tags_of_photo(
        self,
        probabilities: Float[np.ndarray, " T"],
        given: Bool[np.ndarray, " T"],
        counts: Mapping[int, int],
    ) -> tuple[Tag, ...]:
        """A tag takes the count, and the place, of one that it makes more specific."""
        ancestors, kinds = self.evidence.ancestors, self.kinds
        likely = np.flatnonzero(given).tolist()
        above = frozenset[int]().union(*(ancestors[tag] for tag in likely))
        found = []
        for tag in likely:
            if tag in above:
                continue
            line = [tag, *sorted(ancestors[tag].intersection(likely), reverse=True)]
            count = next((counts[each] for each in line if each in counts), None)
            detected = any(kinds[each] == "detector" for each in line)
            found.append((not detected, -float(probabilities[tag]), tag, count))
        return tuple(
            Tag(tag=self._names[tag][0], probability=round(-negative, 3), count=count)
            for _, negative, tag, count in sorted(found, key=lambda each: each[:3])
        )


def read_tag_file(path: Path) -> TagFile:
    """Raises CheckpointError for a file that is damaged or of another format."""
    try:
        file = read_json(path, TagFile)
    except DataError as error:
        raise CheckpointError(f"{error}; {MEND}") from None
    if file.format != FORMAT:
        raise CheckpointError(
            f"{path} has format {file.format}; this version reads {FORMAT}. Upgrade mrnn"
        )
    count = len(file.tags)
    named = [("a class", tag) for tag in (*file.classes, *file.detector.tags)]
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
    """Those of the names that the file has."""
    try:
        with safe_open(path, framework="np") as opened:
            held = set(opened.keys())
            read = opened.get_tensor
            found = {
                name: Classifier(read(name), read(name + SCALE), read(name + BIAS))
                for name in names
                if name in held
            }
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())[:100]
        raise CheckpointError(f"{path} cannot be read: {problem}; {MEND}") from None
    for name, each in found.items():
        shapes = {len(each.weights), len(each.scales), len(each.bias)}
        if shapes != {classes}:
            raise CheckpointError(
                f"{path}: {name!r:.60} has {len(each.weights)} classes, but {TAGS} lists "
                f"{classes}; {MEND}"
            )
    return found


def _part_names(identity: EncoderIdentity) -> list[str]:
    """The names of the networks whose features are joined, without sizes."""
    parts = identity.name.split(image_encoder.JOINT)
    return [part.partition(image_encoder.AT)[0] for part in parts]


def _places(identity: EncoderIdentity, sizes: Mapping[str, int]) -> dict[str, slice]:
    """Where in a feature its parts lie; none if more than one is of unknown size."""
    names = _part_names(identity)
    known = [sizes.get(name) for name in names]
    rest = identity.feature_size - sum(filter(None, known))
    if known.count(None) > 1 or (rest > 0) != (None in known):
        return {}
    ends = np.cumsum([0, *(rest if size is None else size for size in known)]).tolist()
    return {name: slice(*ends) for name, ends in zip(names, pairwise(ends), strict=True)}


def _log_odds(
    values: Float32[np.ndarray, "N T"], least: float, most: float
) -> Float32[np.ndarray, "N T"]:
    clipped = np.clip(values, least, most)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)


def _singulars(phrase: str) -> Iterator[str]:
    """The phrase itself, and what it may be the plural of."""
    yield phrase
    rest, space, word = phrase.rpartition(" ")
    for singular, many in IRREGULAR.items():
        if word == many:
            yield f"{rest}{space}{singular}"
    for ending, other in ENDINGS:
        if word.endswith(ending):
            yield f"{rest}{space}{word.removesuffix(ending)}{other}"
