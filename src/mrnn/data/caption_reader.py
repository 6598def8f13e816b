"""Captions of any system and their references, read from files and matched by image.

.json     COCO: results (a list), or annotations for references
.jsonl    an object a line: image or image_id; caption, or captions, best first
.csv .tsv columns image or image_id; caption or text; perhaps rank, of which 1 counts
.txt      a caption a line; line by line the same images in all files
folder    a dataset, for references
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from mrnn.data.csv_cells import from_cell
from mrnn.data.dataset import Dataset
from mrnn.data.readers.table import read_rows
from mrnn.errors import DataError
from mrnn.files import first_problem, line_of, read_json, read_text

SHOWN = 3  # names in a note


class _Result(BaseModel):
    image_id: int | str
    caption: str


class _Image(BaseModel):
    id: int | str
    file_name: str | None = None


class _Annotations(BaseModel):
    annotations: list[_Result]
    images: list[_Image] = []


_RESULTS = TypeAdapter(list[_Result])


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


def read_hypotheses(file: Path) -> dict[str, str]:
    """The best caption of each image. Raises DataError, for an image with two captions too."""
    found: dict[str, tuple[str, str]] = {}
    for where, name, captions in _read(file, best_only=True):
        if name in found:
            first = found[name][0]
            problem = (
                f"image {name!r} has a caption already, at {first.strip()}; expected one an image"
            )
            raise DataError(f"{file}:{where}: {problem}")
        if captions:
            found[name] = where, captions[0]
    if not found:
        raise DataError(f"{file}: no captions in it")
    return {name: caption for name, (_, caption) in found.items()}


def read_references(sources: Sequence[Path], split: str | None = None) -> References:
    """The references in files, or in a split of a dataset folder. Raises DataError."""
    captions: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for source in sources:
        if source.is_dir():
            for image in _split(source, split):
                captions.setdefault(image.name, []).extend(image.captions)
            continue
        for _, name, texts in _read(source, best_only=False, others=others):
            captions.setdefault(name, []).extend(texts)
    if not any(captions.values()):
        raise DataError(f"{', '.join(map(str, sources))}: no captions in it")
    return References({name: tuple(texts) for name, texts in captions.items()}, others)


def match_files(
    systems: Sequence[Path], references: Sequence[Path], split: str | None = None
) -> Matched:
    """As `match`, from files. Plain text, which names no images, goes with plain text alone."""
    files = [*systems, *references]
    texts = {file: len(_text_lines(file)) for file in files if file.suffix.lower() == ".txt"}
    if texts and len(texts) < len(set(files)):
        other = next(file for file in files if file not in texts)
        problem = f"names no images, so it cannot be matched with {other}; give .txt for both"
        raise DataError(f"{next(iter(texts))}: {problem}")
    for file, lines in texts.items():
        if lines != texts[files[0]]:
            problem = f"{lines} lines, but {files[0]} has {texts[files[0]]}; expected as many"
            raise DataError(f"{file}: {problem}")
    hypotheses = [(str(file), read_hypotheses(file)) for file in systems]
    return match(hypotheses, read_references(references, split))


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
    yield name
    base = name.replace("\\", "/").rpartition("/")[2]
    yield base
    stem = re.sub(r"\.(?:jpe?g|png|gif|bmp|webp|tiff?|ppm)$", "", base, flags=re.IGNORECASE)
    yield stem
    if number := re.fullmatch(r"(?:COCO_[a-z]+\d{4}_)?(\d+)", stem):
        yield number[1].lstrip("0") or "0"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _left_out(what: str, names: Sequence[str]) -> str:
    return f"left out, {what}: {len(names):,} ({_some(names)})"


def _split(folder: Path, split: str | None) -> Sequence[Any]:
    dataset = Dataset.load(folder)
    if split is None:
        there = ", ".join(dataset.splits)
        raise DataError(f"{folder}: which split are the references? --split takes one of: {there}")
    return dataset.split(split)


def _read(
    file: Path, *, best_only: bool, others: dict[str, str] | None = None
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Place, image and captions of each entry; captions may be in several entries."""
    match file.suffix.lower():
        case ".json":
            yield from _read_json(file, {} if others is None else others)
        case ".jsonl" | ".csv" | ".tsv":
            for number, row in read_rows(file):
                if file.suffix.lower() == ".csv":
                    row = {column: from_cell(cell) for column, cell in row.items()}
                if not (best_only and str(row.get("rank") or 1) != "1"):
                    yield str(number), *_read_row(row, f"{file}:{number}")
        case ".txt":
            for number, line in enumerate(_text_lines(file), 1):
                yield str(number), str(number), [line] if best_only or line.strip() else []
        case _:
            problem = "expected a .json, .jsonl, .csv, .tsv or .txt file"
            raise DataError(f"{file}: {problem}" + ("" if best_only else ", or a dataset folder"))


def _text_lines(file: Path) -> list[str]:
    text = read_text(file).removesuffix("\n")
    return text.split("\n") if text else []


def _read_json(file: Path, others: dict[str, str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    text = read_text(file)
    if not text.strip():
        return
    if not text.lstrip().startswith("["):
        content = read_json(file, _Annotations)
        entries = content.annotations
        for image in content.images:
            if image.file_name:
                others[image.file_name] = str(image.id)
            yield "", str(image.id), []
    else:
        try:
            entries = _RESULTS.validate_json(text, strict=True)
        except ValidationError as error:
            raise DataError(f"{file}:{line_of(error)} {first_problem(error)}") from None
    for place, entry in enumerate(entries):
        yield f" [{place}]", str(entry.image_id), [entry.caption]


def _read_row(row: Mapping[str, Any], where: str) -> tuple[str, Sequence[str]]:
    name = next((row[key] for key in ("image", "image_id", "file_name") if key in row), None)
    if not isinstance(name, str | int) or not str(name).strip():
        there = ", ".join(row)
        raise DataError(f"{where}: no image; expected image or image_id, beside: {there}")
    found = next((row[key] for key in ("captions", "caption", "text") if key in row), None)
    if row.get("error") and not found:
        return str(name).strip(), []
    captions = found if isinstance(found, list) else [found]
    texts = []
    for caption in captions:
        text = caption.get("text") if isinstance(caption, dict) else caption
        if isinstance(text, str):
            texts.append(text)
        else:
            there = ", ".join(row)
            problem = f"expected a caption, captions or text, not {text!r:.80}; there are: {there}"
            raise DataError(f"{where}: {problem}")
    return str(name).strip(), texts
