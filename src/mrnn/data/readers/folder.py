"""A folder of photos with their captions beside them.

sub/a.jpg
sub/a.txt   one caption a line
"""

from collections.abc import Iterator
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.images import SUFFIXES
from mrnn.data.photo_paths import find_images
from mrnn.errors import DataError
from mrnn.files import read_lines


def read_folder(source: Path, images: Path) -> Iterator[CaptionedImage]:
    """The photos at any depth below `images`; their texts lie likewise below `source`.

    A photo without a text has no captions. Raises DataError, or ImageError if there is no photo.
    """
    photo_of: dict[Path, str] = {}
    for photo in find_images([images]):
        if photo.suffix.lower() not in SUFFIXES:
            continue
        name = photo.relative_to(images).as_posix()
        text = (source / name).with_suffix(".txt")
        if photo_of.setdefault(text, name) != name:
            both = f"{photo_of[text]} and {name}"
            raise DataError(f"{text}: captions of {both}; rename one photo and give it its own")
        captions = tuple(line.strip() for _, line in read_lines(text)) if text.exists() else ()
        yield CaptionedImage(name, photo, "", captions)
