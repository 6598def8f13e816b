"""Files beside photos: the caption in a text file, or in an XMP sidecar."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from mrnn.captioning.caption_files.written_text import Existing, WrittenText
from mrnn.captioning.caption_files.xmp import described, with_description
from mrnn.captioning.results import ImageCaptions
from mrnn.errors import DataError
from mrnn.outputs import write_whole


@runtime_checkable
class Sidecar(Protocol):
    """The file beside a photo: which it is, whether it says something, and what it says then."""

    kind: str
    """What such a file is called: "text" or "XMP"."""

    def paths(self, photo: Path) -> Sequence[Path]:
        """The file of a photo; then others, for when it is that of another photo."""

    def is_done(self, file: Path) -> bool:
        """Whether an existing file has a text. Raises OSError or DataError."""

    def content(self, file: Path, result: ImageCaptions) -> bytes | None:
        """What the file holds then; None if that is what it holds. Raises OSError or DataError."""


class Sidecars:
    """The files beside photos, and how many were written, kept or not written.

    Of photos that would share a file, the first that can be read has it; another is refused, unless
    it would say the same.
    """

    def __init__(self, sidecar: Sidecar, existing: Existing = Existing.skip) -> None:
        self._sidecar, self._existing, self.kind = sidecar, existing, sidecar.kind
        self._owners: dict[Path, tuple[Path, str]] = {}
        self._photos: set[str] = set()
        self.written, self.kept, self.shared, self.failed = 0, 0, 0, 0

    def is_done(self, photo: Path) -> bool:
        """Whether the photo has a text that stays; a photo that is not there has none."""
        if self._existing is not Existing.skip or not os.path.isfile(photo):
            return False
        try:
            file = self._sidecar.paths(photo)[0]
            return os.path.lexists(file) and self._sidecar.is_done(file)
        except (OSError, DataError):
            return False  # told when it is to be written

    def protect(self, photos: Iterable[Path]) -> None:
        """Photos, and an output, that no file is written over, whatever they are called."""
        self._photos = set(map(_place, photos))

    def write(self, photo: Path, result: ImageCaptions) -> None:
        """Write the file of a photo, or leave what is there. Raises OSError or DataError."""
        try:
            self._write(photo, result)
        except (OSError, DataError):
            self.failed += 1
            raise

    def _write(self, photo: Path, result: ImageCaptions) -> None:
        files, text = self._sidecar.paths(photo), str(result)
        file = next((f for f in files if self._owners.get(f, (photo,))[0] == photo), files[0])
        owner, said = self._owners.setdefault(file, (photo, text))
        if owner != photo and said != text:
            raise DataError(f"{file.name} is that of {owner.name}; rename one of the photos")
        if owner != photo:
            self.shared += 1
            return
        if file == photo or self.is_done(photo):
            self.kept += 1
            return
        if _place(file) in self._photos:
            raise DataError(f"{file.name} is a photo or the output of this run; rename it")
        content = self._sidecar.content(file, result)
        if content is None:
            self.kept += 1
            return
        write_whole(file, content)
        self.written += 1

    def summary(self) -> list[str]:
        """How many files were written, kept and so on, a line each."""
        stay = "there already and stay"
        if self._existing is Existing.skip:
            stay += "; --existing overwrite replaces them"
        told = {
            "written": self.written,
            stay: self.kept,
            "shared with a photo of the same name and caption": self.shared,
            "not written": self.failed,
        }
        kind = self.kind[0].upper() + self.kind[1:]
        return [f"{kind} files {how}: {count:,}" for how, count in told.items() if count]


def _place(file: Path) -> str:
    return os.path.join(os.path.realpath(file.parent), file.name)


class TextSidecar:
    """A text beside a photo, named as the photo but for its suffix."""

    kind = "text"

    def __init__(
        self, existing: Existing, text: WrittenText, suffix: str = ".txt", *, tags: bool = False
    ) -> None:
        self._existing, self._text, self._suffix, self._tags = existing, text, suffix, tags

    def paths(self, photo: Path) -> Sequence[Path]:
        """PHOTO.txt for PHOTO.jpg."""
        return [Path(os.path.splitext(photo)[0] + self._suffix)]

    def is_done(self, file: Path) -> bool:
        """Whatever is there is somebody's text."""
        return os.path.lexists(file)

    def content(self, file: Path, result: ImageCaptions) -> bytes | None:
        """The best caption; with tags a second line has those, of photos that have some."""
        lines = [self._text(result)]
        if self._tags and result.tags:
            lines.append(", ".join(map(str, result.tags)))
        before = _read(file) if self._existing is Existing.append else b""
        return _with_lines(before or b"", lines, file)


def _with_lines(before: bytes, lines: Iterable[str], file: Path) -> bytes | None:
    """A text, and the lines that it does not have yet. Raises DataError if it is not UTF-8."""
    try:
        there = before.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{file.name} is not UTF-8; save it as UTF-8") from None
    end = b"\r\n" if b"\r\n" in before else b"\n"
    new = [line.encode() + end for line in lines if line not in there]
    if new and before and not before.endswith(b"\n"):
        before += end
    return before + b"".join(new) if new else None


class XmpSidecar:
    """The description and the alternative text of a photo in XMP.

    It is in PHOTO.jpg.xmp if that is there or if PHOTO.xmp is that of another photo, else in
    PHOTO.xmp.
    """

    kind = "XMP"

    def __init__(self, existing: Existing) -> None:
        self._existing = existing

    def paths(self, photo: Path) -> Sequence[Path]:
        """The sidecar that is there, or those that may be."""
        long, short = Path(f"{photo}.xmp"), Path(os.path.splitext(photo)[0] + ".xmp")
        return [long] if os.path.lexists(long) else [short, long]

    def is_done(self, file: Path) -> bool:
        """Whether it has a description."""
        return bool(described(_read(file) or b"", file))

    def content(self, file: Path, result: ImageCaptions) -> bytes | None:
        """The sidecar with the caption in it, all else as it was."""
        before = _read(file)
        after = with_description(before, str(result), self._existing, file)
        return None if after == before else after


def _read(file: Path) -> bytes | None:
    """What is in a file, None if there is none. Raises OSError, and DataError for a pipe."""
    if not os.path.exists(file):
        return None
    if not os.path.isfile(file):
        raise DataError(f"{file.name} is not a plain file; rename it")
    return file.read_bytes()
