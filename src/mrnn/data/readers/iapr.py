"""IAPR TC-12: a file of annotations for each image.

annotations_complete_eng/01/1000.eng   tags, among them <DESCRIPTION>: sentences ended by ";"
images/01/1000.jpg

An image is named by its folder and file: 01/1000.jpg. The text is ISO-8859-1; files that were saved
again as UTF-8, or by Windows, are read too.

Source: Grubinger et al., "The IAPR TC-12 Benchmark", OntoImage 2006.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.errors import DataError

Sentences = Literal["split", "joined"]

_TAG = r"</?(?:DOC|DOCNO|TITLE|DESCRIPTION|NOTES|LOCATION|DATE|IMAGE|THUMBNAIL)\b"
_DESCRIPTION = re.compile(rf"<DESCRIPTION\b/?>?(.*?)(?={_TAG}|\Z)", re.DOTALL | re.IGNORECASE)
_PLACE = re.compile(r"(?:annotations|images)/(\d+/\d+)\.", re.IGNORECASE)


def read_iapr(
    source: Path, images: Path, *, sentences: Sentences = "split"
) -> Iterator[CaptionedImage]:
    """The images by number; each sentence of a description is a caption, or all joined are one.

    `images` is the folder images of the release, or the one above. Raises DataError.
    """
    if (images / "images").is_dir():
        images = images / "images"
    files = sorted(source.rglob("*.eng"), key=lambda file: (len(file.stem), file.stem, file))
    if not files:
        raise DataError(f"{source}: no files *.eng; SOURCE is the folder annotations_complete_eng")
    folder, file_of = FilesBelow(images), dict[str, Path]()
    for file in files:
        text = _read_text(file)
        name = _name(file, text)
        if file_of.setdefault(name, file) != file:
            raise DataError(f"{file}: {name} is described by {file_of[name]} too; keep one")
        yield CaptionedImage(name, folder.find(name)[1], "", _captions(file, text, sentences))


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            pass
    return content.decode("latin-1")


def _name(file: Path, text: str) -> str:
    """The image's name: from the path of the file or, without a number there, from its tags."""
    folder, number = file.parent.name, file.stem
    if folder.isdecimal() and number.isdecimal():
        return f"{folder}/{number}.jpg"
    if not (match := _PLACE.search(text)):
        raise DataError(f"{file}: names no image; expected <IMAGE>images/01/1000.jpg</IMAGE>")
    return f"{match[1]}.jpg"


def _captions(file: Path, text: str, sentences: Sentences) -> tuple[str, ...]:
    match = _DESCRIPTION.search(text)
    if not match:
        raise DataError(f"{file}: no <DESCRIPTION>; mend the file, or take it out of the folder")
    description = " ".join(match[1].split())
    found = [part.strip() for part in description.split(";") if part.strip()]
    return tuple(found) if sentences == "split" or not found else ("; ".join(found),)
