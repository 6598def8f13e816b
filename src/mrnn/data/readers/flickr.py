"""Flickr8k, Flickr30k and data in the same layout: a token file, perhaps split lists.

NAME.token.txt         one caption a line: image.jpg#0, a tab, the caption; or NAME.token
NAME.trainImages.txt   one image file name a line; likewise devImages and testImages

Sources: Hodosh et al., "Framing Image Description as a Ranking Task", JAIR 2013; Young et al.,
"From image descriptions to visual denotations", TACL 2014.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.data.readers.columns import shown
from mrnn.data.splits import SPLITS, split_by_lists
from mrnn.errors import DataError
from mrnn.files import read_lines


def read_flickr(source: Path, images: Path) -> Iterator[CaptionedImage]:
    """The images in the order of whichever split lists `source` has, then those in no list.

    Raises DataError.
    """
    folder = FilesBelow(images)
    captions: dict[Path, tuple[str, list[str]]] = {}
    for given, caption in _read_captions(_only_file(source, "*.token*")):
        name, path = folder.find(given)
        captions.setdefault(path, (name, []))[1].append(caption)
    lists = [
        (split, _only_file(source, f"*.{split}Images.txt"))
        for split in SPLITS
        if any(source.glob(f"*.{split}Images.txt"))
    ]
    every = (
        CaptionedImage(name, path, "", tuple(texts)) for path, (name, texts) in captions.items()
    )
    yield from split_by_lists(every, lists)


def _only_file(folder: Path, pattern: str) -> Path:
    """Flickr8k's lemmatized captions, *.lemma.token.txt, do not count."""
    files = sorted(file for file in folder.glob(pattern) if ".lemma." not in file.name)
    if not files:
        raise DataError(f"{folder}: no file {pattern}; SOURCE is the folder that holds it")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: several files {pattern} ({names}); keep one")
    return files[0]


def _read_captions(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in read_lines(file):
        match = re.fullmatch(r"(.+?)#\d+\t(.*)", line)
        if not match:
            raise DataError(
                f"{file}:{number}: expected 'image.jpg#0', a tab and a caption, not {shown(line)}"
            )
        yield match[1], match[2]
