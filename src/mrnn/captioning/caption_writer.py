"""The files that captions go to: JSON lines, CSV, a text file beside each photo, COCO's results."""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.captioning.results import ImageCaptions
from mrnn.errors import DataError, OptionsError, naming
from mrnn.outputs import write_whole

CSV_COLUMNS = (
    "image", "rank", "text", "log_probability", "tags", "familiarity", "confidence", "error",
)  # fmt: skip


@dataclass(frozen=True)
class _Row:
    """A line of a file of captions."""

    photo: str
    failed: bool
    captions: int
    content: bytes


class CaptionFile:
    """A .jsonl or .csv file that grows by a photo at a time, and goes on where it stopped.

    .jsonl has a line a photo, .csv a row a caption (or one with the error). Each photo is written
    at once. Photos that failed or were cut by an interruption are removed from an existing file and
    done again; so is the last photo of a .csv with less than `n_best`
    rows, which may have been cut between two rows.
    """

    def __init__(self, path: Path, n_best: int = 1) -> None:
        if path.suffix not in (".jsonl", ".csv"):
            raise OptionsError(f"{path}: captions go to a .jsonl or a .csv file")
        self._is_csv, self._path = path.suffix == ".csv", path.resolve()
        content = path.read_bytes() if path.exists() else b""
        try:
            rows = _csv_rows(content) if self._is_csv else _jsonl_rows(content)
        except (ValueError, LookupError, TypeError, csv.Error) as error:
            raise OptionsError(
                f"{path} exists and was not written by `mrnn caption`; give another file"
            ) from error
        if self._is_csv:
            rows = _without_cut_photo(rows, content, n_best)
        rows = [row for row in rows if not row.failed]
        self._check_counts(rows, n_best)
        self.done = {row.photo for row in rows}
        """The photos that are in the file already."""
        header = _csv_lines([CSV_COLUMNS]) if self._is_csv else b""
        kept = header + b"".join(row.content for row in rows)
        if not content:
            self._write(kept)
        elif kept != content:
            write_whole(self._path, kept)

    def _check_counts(self, rows: Sequence[_Row], n_best: int) -> None:
        """Refuses a file whose photos have more captions than are asked for."""
        counts = Counter[str]()
        for row in rows:
            counts[row.photo] += row.captions
        most = max(counts.values(), default=n_best)
        if most > n_best:
            raise OptionsError(
                f"{self._path} has up to {most} captions a photo, not {n_best}; "
                f"give another file, or --n-best {most}"
            )

    def write(self, result: ImageCaptions) -> None:
        """Add a photo."""
        if not self._is_csv:
            self._write(result.model_dump_json().encode() + b"\n")
            return
        tags = "; ".join(map(str, result.tags))
        rows: list[Iterable[object]] = [
            (
                result.image, rank, c.text, c.log_probability, tags, result.familiarity,
                result.confidence if rank == 1 else None, "",
            )
            for rank, c in enumerate(result.captions, 1)
        ]  # fmt: skip
        empty = [""] * (len(CSV_COLUMNS) - 2)
        self._write(_csv_lines(rows or [(result.image, *empty, result.error)]))

    def _write(self, content: bytes) -> None:
        with naming(self._path), self._path.open("ab") as file:
            file.write(content)


class Sidecars:
    """PHOTO.txt beside PHOTO.jpg, with the best caption.

    With `tags` a second line has those, of photos that have some. Of photos that differ only in
    their ending the first has it; the others are refused.
    """

    def __init__(
        self, photos: Iterable[Path], *, overwrite: bool = False, tags: bool = False
    ) -> None:
        self._overwrite, self._tags = overwrite, tags
        self._owners: dict[str, Path] = {}
        for photo in photos:
            self._owners.setdefault(_stem(photo), photo)
        self.written, self.kept, self.failed = 0, 0, 0

    def left_to_do(self, photos: Sequence[Path]) -> list[Path]:
        """The photos without a text; others count as kept."""
        left = [photo for photo in photos if not self._stays(photo)]
        self.kept += len(photos) - len(left)
        return left

    def _stays(self, photo: Path) -> bool:
        stem = _stem(photo)
        there = os.path.isfile(photo) and os.path.exists(f"{stem}.txt")
        return there and not self._overwrite and self._owners[stem] == photo

    def write(self, photo: Path, result: ImageCaptions) -> None:
        """An existing text stays, unless it is to be replaced. Raises OSError."""
        owner, text = self._owners[_stem(photo)], Path(f"{_stem(photo)}.txt")
        try:
            if owner != photo:
                raise FileExistsError(0, f"that name is for {owner.name}; rename one")
            if text == photo or (text.exists() and not self._overwrite):
                self.kept += 1
                return
            lines = [result.captions[0].text]
            if self._tags and result.tags:
                lines.append(", ".join(map(str, result.tags)))
            write_whole(text, "".join(f"{line}\n" for line in lines))
        except OSError:
            self.failed += 1
            raise
        self.written += 1

    def summary(self) -> list[str]:
        """How many texts were written, kept and so on, a line each."""
        told = {
            "written": self.written,
            "there already and stay; --overwrite replaces them": self.kept,
            "not written": self.failed,
        }
        return [f"Text files {what}: {count:,}" for what, count in told.items() if count]


def _stem(photo: Path) -> str:
    return os.path.splitext(photo)[0]


def coco_ids(names: Sequence[str]) -> list[int]:
    """The image ids of the COCO server, e.g. 42 of COCO_val2014_000000000042.jpg.

    Raises DataError for a name without one, and for two names of one image.
    """
    name_of: dict[int, str] = {}
    for name in names:
        number = re.fullmatch(
            r"(?:.*/)?(?:COCO_[a-z]+\d{4}_)?0*(\d{1,18})(?:\.\w+)?", name, re.ASCII
        )
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
    write_whole(file, json.dumps(results, ensure_ascii=False) + "\n")


def _jsonl_rows(content: bytes) -> list[_Row]:
    """The rows, but for one that was cut."""
    *lines, cut = content.split(b"\n")
    start = b'{"image":'
    if not start.startswith(cut[: len(start)]):
        raise ValueError("something else")
    rows = []
    for line in lines:
        result = ImageCaptions.model_validate_json(line)
        failed = result.error is not None
        rows.append(_Row(result.image, failed, len(result.captions), line + b"\n"))
    return rows


def _csv_rows(content: bytes) -> list[_Row]:
    """The rows, but for one that was cut."""
    header = _csv_lines([CSV_COLUMNS])
    if not header.startswith(content[: len(header)]):
        raise ValueError("something else")
    lines, line = [], b""
    for part in content[len(header) :].split(b"\n"):
        line += part
        if line.count(b'"') % 2:  # a newline in a name
            line += b"\n"
        else:
            lines.append(line)
            line = b""
    if not line:
        lines.pop()  # the whole of what comes after the last newline, or nothing
    rows = []
    for line in lines:
        (cells,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
        if len(cells) != len(CSV_COLUMNS):
            raise ValueError("other columns")
        rows.append(_Row(cells[0], bool(cells[-1]), 1, line + b"\n"))
    return rows


def _without_cut_photo(rows: list[_Row], content: bytes, n_best: int) -> list[_Row]:
    """The rows but for those of the last photo, where some of its rows may be lacking."""
    last = rows[-1].photo if rows else ""
    there = sum(row.photo == last for row in rows)
    whole = there >= n_best and content.endswith(rows[-1].content)
    return rows if whole else [row for row in rows if row.photo != last]


def _csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    lines = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerow(row)  # so that both signs are quoted
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode()
