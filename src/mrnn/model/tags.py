"""Tags of a photo: everyday words for what its encoder's classes see, with probabilities.

The probability of a tag is sigmoid(a d + b c + e): d is the log-odds of the detector's best score
of its classes, c the log-odds of the sum of the softmax over its classes of ImageNet. Scores of
several classifiers are averaged before the softmax.

Letters: N photos, F image feature, T tags.
Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, for the calibration.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, model_serializer

from mrnn.errors import CheckpointError, DataError
from mrnn.model import image_encoder
from mrnn.model.config import EncoderIdentity
from mrnn.model.encoder_classes import (
    COUNTED,
    MEND,
    TAGS,
    VALUES,
    Calibration,
    EncoderClasses,
    Kind,
    read_tag_file,
)
from mrnn.shapes import Bool, Float
from mrnn.tokenizer import tokenize

IRREGULAR = {"mouse": "mice", "sheep": "sheep", "knife": "knives", "goose": "geese", "ox": "oxen"}
ENDINGS = (("ves", "fe"), ("ies", "y"), ("es", ""), ("s", ""))
"""Of plurals, and of their singulars."""


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


@dataclass(frozen=True)
class Tagger:
    """Gives photos tags, by their features."""

    classes: EncoderClasses
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
        classes = EncoderClasses.of(identity, folder, file)
        if classes is None:
            return None
        if classes.kind not in file.calibrations:
            raise CheckpointError(f"{folder / TAGS} lacks the calibration {classes.kind!r}; {MEND}")
        calibration = file.calibrations[classes.kind]
        if classes.classifiers and classes.names not in calibration.temperatures:
            raise CheckpointError(
                f"{folder / TAGS} lacks the temperature of {classes.names!r:.120}; {MEND}"
            )
        return cls(classes, calibration)

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
        temperature = self.calibration.temperatures.get(self.classes.names, 1.0)
        detected, classified = self.classes.log_odds(features, temperature)
        a, b, intercept = np.array(self.calibration.weights, np.float32).T
        log_odds = detected * a + classified * b + intercept
        bounded = np.clip(log_odds, -80, 80)  # beyond, exp overflows
        return np.asarray(self.classes.known.any(axis=0) / (1 + np.exp(-bounded)))

    def find(self, word: str) -> tuple[str, ...]:
        """The tags that a word or phrase names, in the singular or plural."""
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
        file = self.classes.file
        detected = set(file.detector.tags) if self.classes.detector else set()
        parents = {parent for entry in file.tags for parent in entry.parents}
        return [
            "detector" if tag in detected else "parent" if tag in parents else "leaf"
            for tag in range(len(file.tags))
        ]

    @property
    def _names(self) -> list[tuple[str, ...]]:
        return [entry.names for entry in self.classes.file.tags]

    @cached_property
    def _thresholds(self) -> Float[np.ndarray, " T"]:
        return np.array([self.calibration.thresholds.get(kind, 2.0) for kind in self.kinds])

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for tag, names in enumerate(self._names):
            if self.classes.known[:, tag].any():
                for name in names:
                    found.setdefault(" ".join(tokenize(name)), []).append(tag)
        return found

    def _find(self, word: str) -> list[int]:
        asked = " ".join(tokenize(word))
        return next(filter(None, map(self._by_name.get, _singulars(asked))), [])

    def _counts(self, features: Float[np.ndarray, "N F"]) -> list[dict[int, int]]:
        """How many the detector sees of each of its classes that it sees at all."""
        if not self.classes.detector:
            return [{} for _ in features]
        tags = self.classes.file.detector.tags
        counts = np.rint(self.classes.detections(features, VALUES - 1) * COUNTED).astype(int)
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
        ancestors, kinds = self.classes.ancestors, self.kinds
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
