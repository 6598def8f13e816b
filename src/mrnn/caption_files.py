"""The files that captions go to: JSON lines, CSV, and a text file beside each photo."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

from mrnn.captioner import ImageCaptions
from mrnn.errors import OptionsError

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
        whole = content[: content.rfind(b"\n") + 1]
        self.done: set[str] = set()
        """The photos that are in the file already."""
        try:
            self.done.update(self._photos(whole.decode("utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise OptionsError(
                f"{path} exists and was not written by `mrnn caption`; give another file"
            ) from error
        self._file = path.open("ab")
        self._file.truncate(len(whole))
        if self._is_csv and not whole:
            self._write(_csv_lines([CSV_COLUMNS]))

    def write(self, result: ImageCaptions) -> None:
        """Add a photo."""
        if not self._is_csv:
            self._write(result.model_dump_json() + "\n")
            return
        rows: list[Iterable[object]] = [
            (result.image, rank, c.text, c.log_probability, result.familiarity, "")
            for rank, c in enumerate(result.captions, 1)
        ]
        self._write(_csv_lines(rows or [(result.image, "", "", "", "", result.error)]))

    def close(self) -> None:
        """Nothing is lost without: every photo was flushed."""
        self._file.close()

    def _photos(self, text: str) -> Iterable[str]:
        if not self._is_csv:
            return [json.loads(line)["image"] for line in text.splitlines()]
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
        if rows and tuple(rows[0]) != CSV_COLUMNS:
            raise ValueError("other columns")
        return [row[0] for row in rows[1:]]

    def _write(self, text: str) -> None:
        self._file.write(text.encode("utf-8"))
        self._file.flush()


def write_sidecar(result: ImageCaptions, *, overwrite: bool = False) -> bool:
    """The best caption into PHOTO.txt beside PHOTO.jpg; False where one is there and stays."""
    sidecar = Path(result.image).with_suffix(".txt")
    text = result.captions[0].text + "\n"
    if sidecar.exists() and not overwrite:
        return sidecar.read_text(encoding="utf-8", errors="replace") == text
    sibling = sidecar.with_name(sidecar.name + ".new")
    sibling.write_text(text, encoding="utf-8")
    sibling.replace(sidecar)
    return True


def _csv_lines(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
