"""A folder of photos with their captions beside them.

sub/a.jpg
sub/a.txt       one caption a line; or sub/a.jpg.txt
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.data.photos.paths import find_images, is_photo
from mrnn.errors import DataError, ImageError, counted
from mrnn.files import read_lines

ORIGINALS = (".heic", ".heif")
"""What phones keep beside a JPEG of the same shot: a text of the stem is that one's."""


def read_folder(
    source: Path, images: Path, *, suffix: str = ".txt", notes: list[str] | None = None
) -> Iterator[CaptionedImage]:
    """The photos at any depth below `images`; their texts, which end so, lie likewise in `source`.

    A text of the whole name, a.jpg.txt, goes before one of the stem, a.txt. A photo without a text
    has no captions. Raises DataError, also if no photo has a text; or ImageError without photos.
    """
    told = [] if notes is None else notes
    suffix = suffix if suffix[:1] in "._-" else f".{suffix}"
    photos, foreign, unread = list[str](), list[str](), list[str]()
    for photo in find_images([images], on_problem=unread.append):
        name = photo.relative_to(images).as_posix()
        (photos if _is_utf8(name) else foreign).append(name)
    if not photos and unread:
        raise ImageError(unread[0])
    photo_of: dict[Path, str] = {}
    texts = FilesBelow(source)
    others = {os.path.splitext(name)[0] for name in photos if not name.lower().endswith(ORIGINALS)}
    for name in photos:
        endings = [name + suffix, os.path.splitext(name)[0] + suffix]
        if name.lower().endswith(ORIGINALS) and os.path.splitext(name)[0] in others:
            del endings[1]
        text = next((path for _, path in map(texts.find, endings) if path.is_file()), None)
        if text and photo_of.setdefault(text, name) != name:
            both = f"captions of {photo_of[text]} and {name}"
            own = f"{Path(name).name}{suffix}"
            raise DataError(f"{text}: {both}; give each its own, as {own}")
        captions = tuple(line.strip() for _, line in read_lines(text)) if text else ()
        yield CaptionedImage(name, images / name, "", captions)
    if not photo_of:
        raise DataError(_none_has_a_text(source, photos, suffix))
    told += unread
    if foreign:
        told.append(
            f"{counted(len(foreign), 'photo')} left out, whose name is not UTF-8: {foreign[0]!a}"
        )


def _none_has_a_text(source: Path, photos: Sequence[str], suffix: str) -> str:
    """What is wrong, and the suffix that most photos have texts of."""
    known = {*photos, *(os.path.splitext(name)[0] for name in photos)}
    others = Counter[str]()
    for parent, _, files in os.walk(source):
        below = Path(parent).relative_to(source)
        for stem, ending in map(os.path.splitext, files):
            others[ending] += (below / stem).as_posix() in known and not is_photo(stem + ending)
    problem = f"{source}: {counted(len(photos), 'photo')}, none with a {suffix} beside it"
    ending, count = max(others.items(), key=lambda item: item[1], default=("", 0))
    if count:
        return f"{problem}; {count:,} have a {ending}: give --suffix {ending}"
    return f"{problem}; write a photo's captions there, one a line"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
