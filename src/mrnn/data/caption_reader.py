"""Captions of any system and their references, read from files.

.json     COCO results (a list, or one in "results") or annotations; Karpathy's; {id: captions}
.jsonl    an object a line: image or image_id; caption, or captions, best first
.csv .tsv .parquet   columns of images and captions; perhaps rank, of which 1 counts
.txt      a caption a line; line by line the same images in all files
folder    a dataset, for references
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mrnn.data.caption_matching import Matched, References, match
from mrnn.data.dataset import Dataset
from mrnn.data.readers.columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    Row,
    captions_in,
    cell_at,
    column_of,
    image_id,
    shown,
)
from mrnn.data.readers.rows import PlacedRow, read_rows, rows_of_list
from mrnn.errors import DataError
from mrnn.files import parse_json, read_text


def read_hypotheses(file: Path, notes: list[str] | None = None) -> dict[str, str]:
    """The best caption of each image. Raises DataError, for an image with two captions too."""
    found: dict[str, tuple[str, str]] = {}
    for place, name, captions in _read(file, best_only=True, notes=notes):
        if name in found:
            first = found[name][0].strip(" :")
            problem = f"image {name!r:.80} has a caption already, at {first}; expected one an image"
            raise DataError(f"{file}{place}: {problem}")
        if captions:
            found[name] = place, captions[0]
    if not found:
        raise DataError(f"{file}: no captions in it")
    return {name: caption for name, (_, caption) in found.items()}


def read_references(
    sources: Sequence[Path], split: str | None = None, notes: list[str] | None = None
) -> References:
    """The references in files, or in a split of a dataset folder. Raises DataError."""
    captions: dict[str, list[str]] = {}
    others: dict[str, str] = {}
    for source in sources:
        if source.is_dir():
            for image in _split(source, split):
                captions.setdefault(image.name, []).extend(image.captions)
            continue
        for _, name, texts in _read(source, best_only=False, others=others, notes=notes):
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
    notes: list[str] = []
    hypotheses = [(str(file), read_hypotheses(file, notes)) for file in systems]
    matched = match(hypotheses, read_references(references, split, notes))
    return replace(matched, notes=[*dict.fromkeys(notes), *matched.notes])


def _split(folder: Path, split: str | None) -> Sequence[Any]:
    dataset = Dataset.load(folder)
    if split is None:
        there = ", ".join(dataset.splits)
        raise DataError(f"{folder}: which split are the references? --split takes one of: {there}")
    return dataset.split(split)


def _read(
    file: Path,
    *,
    best_only: bool,
    others: dict[str, str] | None = None,
    notes: list[str] | None = None,
) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Place, image and captions of each entry; captions may be in several entries."""
    match file.suffix.lower():
        case ".json":
            yield from _read_json(file, {} if others is None else others)
        case ".jsonl" | ".csv" | ".tsv" | ".parquet":
            for place, row in read_rows(file, notes=notes):
                if not (best_only and str(row.get("rank") or 1) != "1"):
                    yield place, *_read_row(row, f"{file}{place}")
        case ".txt":
            for number, line in enumerate(_text_lines(file), 1):
                yield f":{number}", str(number), [line] if best_only or line.strip() else []
        case _:
            problem = "expected a .json, .jsonl, .csv, .tsv, .parquet or .txt file"
            raise DataError(f"{file}: {problem}" + ("" if best_only else ", or a dataset folder"))


def _text_lines(file: Path) -> list[str]:
    text = read_text(file).removesuffix("\n")
    return text.split("\n") if text else []


def _read_json(file: Path, others: dict[str, str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    text = read_text(file)
    content = parse_json(text, file, unique_keys=True) if text.strip() else []
    if isinstance(content, dict) and "annotations" in content:
        for place, image in rows_of_list(file, content.get("images", []), "images"):
            number = _id_in(image, "id", f"{file}{place}")
            if isinstance(name := image.get("file_name"), str):
                others[name] = number
            yield "", number, []
    for place, row in _json_rows(file, content):
        yield place, *_read_row(row, f"{file}{place}")


def _json_rows(file: Path, content: object) -> Iterator[PlacedRow]:
    """Rows from a list, from an object that holds one, or from {id: captions}."""
    if isinstance(content, dict):
        for name in ("annotations", "results", "predictions", "images"):
            if name in content:
                return rows_of_list(file, content[name], name)
        if isinstance(next(iter(content.values()), []), str | list | dict):
            return (
                (f": [{shown(key)}]", {"image_id": key, "captions": captions})
                for key, captions in content.items()
            )
    elif isinstance(content, list):
        return rows_of_list(file, content)
    forms = '[{"image_id": 7, "caption": "A dog"}] or {"7": ["A dog"]}'
    raise DataError(f"{file}: no captions found; expected a list or a dictionary, as {forms}")


def _read_row(row: Row, where: str) -> tuple[str, Sequence[str]]:
    first = "image_id" if "image_id" in row and "image" not in row else "image"
    name = _id_in(row, column_of(row, (first, *IMAGE_COLUMNS), "image", where=where), where)
    if row.get("error") and not any(row.get(each) for each in CAPTION_COLUMNS):
        return name, []
    column = column_of(row, CAPTION_COLUMNS, "caption", where=where)
    return name, captions_in(row[column], cell_at(where, column))


def _id_in(row: Row, column: str, where: str) -> str:
    cell = row.get(column)
    if isinstance(cell, dict) and isinstance(cell.get("path"), str):  # of Hugging Face's datasets
        cell = cell["path"]
    try:
        return image_id(cell)
    except ValueError as error:
        raise DataError(f"{cell_at(where, column)}: {error}") from None
