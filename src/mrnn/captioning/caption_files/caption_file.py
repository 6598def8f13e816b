"""A file of captions that grows by a photo at a time, and goes on where it stopped."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mrnn.captioning.caption_files.csv_rows import Csv
from mrnn.captioning.caption_files.rows import Form, ImageFolder, JsonLines, Row, RowError
from mrnn.captioning.results import ImageCaptions
from mrnn.data.photos.names import KnownPhotos, name_from_text
from mrnn.errors import OptionsError, naming
from mrnn.outputs import write_whole

IMAGE_FOLDER = "metadata.jsonl"
"""The name of a file in the form of Hugging Face's imagefolder."""


class CaptionFile:
    """A .jsonl, .csv or metadata.jsonl file, to which the captions of more photos are added.

    .jsonl has a line a photo, .csv a row a caption (or one with the error), metadata.jsonl the text
    of a photo that has a caption. Each photo is written at once. Photos that failed or were cut by
    an interruption are removed from an existing file and done again; so is the last photo of a .csv
    with less than `n_best` rows, which may have been cut between two rows. Another file, or one
    with lines that were not written so, is refused with OptionsError, and left as it is.
    Only one process may write to it: see `mrnn.locks.locked`.
    """

    def __init__(
        self,
        path: Path,
        n_best: int = 1,
        *,
        text_of: Callable[[ImageCaptions], str] = str,
    ) -> None:
        """`text_of` gives what metadata.jsonl has of a photo's captions."""
        self._path, self._form = path.resolve(), _form_of(path, n_best, text_of)
        self._name, self._known = path, KnownPhotos()
        content = path.read_bytes() if path.exists() else b""
        rows = [row for row in self._rows(content) if row.rank]
        self._check(rows, n_best)
        for row in rows:
            self._known.add(row.photo)
        kept = self._form.start + b"".join(row.content for row in rows)
        if not content:
            self._append(kept)
        elif kept != content:
            write_whole(self._path, kept)

    def __len__(self) -> int:
        """How many photos are in the file."""
        return len(self._known)

    def __contains__(self, photo: str | Path) -> bool:
        """Whether a photo is in the file already, under whatever path."""
        return str(photo) in self._known

    def check(self, photos: Iterable[Path]) -> None:
        """Raises OptionsError, before any work, for a photo that the file cannot name."""
        if isinstance(self._form, ImageFolder):
            for photo in photos:
                self._form.file_name(str(photo))

    def write(self, result: ImageCaptions) -> None:
        """Add a photo."""
        self._append(self._form.lines(result))
        if not result.error:
            self._known.add(name_from_text(result.image))

    def _rows(self, content: bytes) -> list[Row]:
        if not content:
            return []
        try:
            return self._form.read(content)
        except RowError as error:
            if error.line == 1:
                raise OptionsError(
                    f"{self._name} exists and was not written by `mrnn caption`; give another file"
                ) from None
            raise OptionsError(
                f"{self._name}:{error.line}: {error}; correct or delete that line, or give "
                "another file"
            ) from None

    def _check(self, rows: Sequence[Row], n_best: int) -> None:
        """Refuses a photo that is there twice, or with more captions than are asked for."""
        lines: dict[tuple[str, int], int] = {}
        for row in rows:
            first = lines.setdefault((row.photo, row.rank), row.line)
            if first != row.line:
                raise OptionsError(
                    f"{self._name}:{row.line}: {row.photo} is in line {first} already, as after "
                    "two runs at once; delete one of the two, or give another file"
                )
        counts = Counter[str]()
        for row in rows:
            counts[row.photo] += row.captions
        most = max([*counts.values(), *(row.rank for row in rows)], default=n_best)
        if most > n_best:
            raise OptionsError(
                f"{self._name} has up to {most} captions a photo, not {n_best}; "
                f"give another file, or --n-best {most}"
            )

    def _append(self, content: bytes) -> None:
        with naming(self._path), self._path.open("ab") as file:
            file.write(content)


def _form_of(path: Path, n_best: int, text_of: Callable[[ImageCaptions], str]) -> Form:
    if path.name.lower() == IMAGE_FOLDER:
        return ImageFolder(path.parent, text_of)
    match path.suffix.lower():
        case ".jsonl":
            return JsonLines()
        case ".csv":
            return Csv(n_best)
    raise OptionsError(f"{path}: captions go to a .jsonl or a .csv file")
