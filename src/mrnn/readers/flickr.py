"""Flickr8k, and what is laid out like it: a token file, split lists, a folder of images.

NAME.token.txt         one caption a line: image.jpg#0, a tab, the caption
NAME.trainImages.txt   one image file name a line; likewise devImages and testImages

Source: Hodosh et al., "Framing Image Description as a Ranking Task", JAIR 2013.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mrnn.dataset import CaptionedImage
from mrnn.errors import DataError

SPLITS = ("train", "dev", "test")


def read_flickr(source: Path, images: Path) -> Iterator[CaptionedImage]:
    """The images of whichever split lists `source` has, in the order of the lists.

    Images in no list are left out. Raises DataError.
    """
    if not images.is_dir():
        raise DataError(f"{images}: no such folder of images; check --images")
    captions = _read_captions(_only_file(source, "*.token.txt"))
    lists = {
        split: _only_file(source, f"*.{split}Images.txt")
        for split in SPLITS
        if any(source.glob(f"*.{split}Images.txt"))
    }
    if not lists:
        expected = ", ".join(f"*.{split}Images.txt" for split in SPLITS)
        raise DataError(f"{source}: no split list; looked for {expected}")
    list_of: dict[str, Path] = {}
    for split, file in lists.items():
        for number, line in _lines(file):
            name = line.strip()
            if name in list_of:
                raise DataError(f"{file}:{number}: {name} stands in {list_of[name]} already")
            if name not in captions:
                raise DataError(f"{file}:{number}: {name} has no captions in the token file")
            list_of[name] = file
            yield CaptionedImage(name, images / name, split, tuple(captions[name]))


def _only_file(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if not files:
        raise DataError(f"{folder}: no file {pattern}; SOURCE is the folder that holds it")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: several files {pattern} ({names}); keep one")
    return files[0]


def _read_captions(file: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for number, line in _lines(file):
        match = re.fullmatch(r"(.+?)#\d+\t(.*)", line)
        if not match:
            raise DataError(f"{file}:{number}: not 'image.jpg#0', a tab, a caption: {line!r:.80}")
        captions.setdefault(match[1], []).append(match[2])
    return captions


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{number}: not UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line
