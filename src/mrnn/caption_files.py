"""The files that captions go to: JSON lines, CSV, a text file beside each photo, COCO's results."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mrnn.captioner import ImageCaptions
from mrnn.errors import DataError, OptionsError

CSV_COLUMNS = ("image", "rank", "text", "log_probability", "familiarity", "error")


class CaptionFile:
    """A .jsonl or .csv file that grows by a photo at a time, and goes on where it stopped.

    .jsonl has a line a photo, .csv a row a caption (or one with the error). Each photo is written
    at once; one that an interruption cut in the middle is taken out and done again.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in (".jsonl", ".csv"):
            raise OptionsError(f"{path}: captions go to a .jsonl or a .csv file")
        self._is_csv = path.suffix == ".csv"
        content = path.read_bytes() if path.exists() else b""
        try:
            photos = _csv_photos(content) if self._is_csv else _jsonl_photos(content)
        except (ValueError, LookupError, TypeError, csv.Error) as error:
            raise OptionsError(
                f"{path} exists and was not written by `mrnn caption`; give another file"
            ) from error
        self.done = {name for name, _ in photos}
        """The photos that are in the file already."""
        kept = sum(size for _, size in photos)
        header = _csv_lines([CSV_COLUMNS]) if self._is_csv else b""
        kept += len(header) if content.startswith(header) else 0
        self._path = path
        with path.open("ab") as file:
            file.truncate(kept)
        if not kept:
            self._write(header)

    def write(self, result: ImageCaptions) -> None:
        """Add a photo."""
        if not self._is_csv:
            self._write(result.model_dump_json().encode() + b"\n")
            return
        rows: list[Iterable[object]] = [
            (result.image, rank, c.text, c.log_probability, result.familiarity, "")
            for rank, c in enumerate(result.captions, 1)
        ]
        self._write(_csv_lines(rows or [(result.image, "", "", "", "", result.error)]))

    def _write(self, content: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(content)


def write_sidecar(photo: Path, result: ImageCaptions, *, overwrite: bool = False) -> bool:
    """The best caption into PHOTO.txt beside PHOTO.jpg; False where one is there and stays."""
    sidecar = photo.with_suffix(".txt")
    text = result.captions[0].text + "\n"
    if sidecar == photo or (sidecar.exists() and not overwrite):
        return sidecar.read_text(encoding="utf-8", errors="replace") == text
    sibling = sidecar.with_name(sidecar.name + ".new")
    sibling.write_text(text, encoding="utf-8")
    sibling.replace(sidecar)
    return True


def coco_ids(names: Sequence[str]) -> list[int]:
    """The ids that the COCO server knows images by, e.g. 42 of COCO_val2014_000000000042.jpg.

    Raises DataError for a name without one, and for two names of one image.
    """
    name_of: dict[int, str] = {}
    for name in names:
        number = re.fullmatch(r"(?:.*/)?(?:COCO_[a-z]+\d{4}_)?(\d+)(?:\.\w+)?", name, re.ASCII)
        if not number:
            raise DataError(
                f"{name!r} holds no image id; the COCO server takes whole numbers, as in "
                "COCO_val2014_000000391895.jpg"
            )
        if (first := name_of.setdefault(int(number[1]), name)) is not name:
            raise DataError(f"{first!r} and {name!r} have one image id, {int(number[1])}")
    return list(name_of)


def write_coco_results(file: Path, ids: Sequence[int], captions: Sequence[str]) -> None:
    """Captions in the form that the COCO server takes, one an image."""
    results = [
        {"image_id": number, "caption": caption}
        for number, caption in zip(ids, captions, strict=True)
    ]
    sibling = file.with_name(file.name + ".new")
    sibling.write_text(json.dumps(results, ensure_ascii=False) + "\n", encoding="utf-8")
    sibling.replace(file)


def _jsonl_photos(content: bytes) -> list[tuple[str, int]]:
    """Each photo with its size in bytes, but for one that was cut."""
    *lines, cut = content.split(b"\n")
    start = b'{"image":'
    if not start.startswith(cut[: len(start)]):
        raise ValueError("something else")
    return [(json.loads(line)["image"], len(line) + 1) for line in lines]


def _csv_photos(content: bytes) -> list[tuple[str, int]]:
    """Each row's photo and its size in bytes, but for the rows of a photo that was cut."""
    header = _csv_lines([CSV_COLUMNS])
    if not header.startswith(content[: len(header)]):
        raise ValueError("something else")
    rows, row = [], b""
    for line in content[len(header) :].split(b"\n"):
        row += line
        if row.count(b'"') % 2:  # a newline in a name
            row += b"\n"
        else:
            rows.append(row)
            row = b""
    if not row:
        rows.pop()  # the whole of what comes after the last newline, or nothing
    photos = []
    for row in rows:
        (cells,) = csv.reader(io.StringIO(row.decode(), newline=""), strict=True)
        if len(cells) != len(CSV_COLUMNS):
            raise ValueError("other columns")
        photos.append((cells[0], len(row) + 1))
    cut = content[len(header) + sum(size for _, size in photos) :]
    last = photos[-1][0] if photos else ""
    start = _csv_lines([(last, "")])[:-1]
    if cut and (cut.startswith(start) or start.startswith(cut)):
        while photos and photos[-1][0] == last:
            photos.pop()
    return photos


def _csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    lines = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerow(row)  # so that both signs are quoted
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode()
