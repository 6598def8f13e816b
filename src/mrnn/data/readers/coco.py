"""MS COCO captions and data in the same layout: one JSON file or several.

images[]        id, file_name
annotations[]   image_id, caption

The split comes from the name of a file: train in captions_train2014.json, val (our dev) in
captions_val2014.json. Its images lie in the folder of images, or in train2014 and the like there.

Source: Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.data.readers.columns import image_id
from mrnn.data.splits import split_name
from mrnn.errors import DataError
from mrnn.files import read_json

_Id = Annotated[str, BeforeValidator(image_id)]


class _Image(BaseModel):
    id: _Id
    file_name: str | None = Field(None, min_length=1)


class _Annotation(BaseModel):
    image_id: _Id
    caption: str


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]


def read_coco(sources: Sequence[Path], images: Path) -> Iterator[CaptionedImage]:
    """The images in the order of the files, those without captions included.

    Raises DataError, also for an image that is in two files, be it under its name of 2014 in one
    and of 2017 in the other.
    """
    place_of: dict[str, str] = {}
    for source in sources:
        for place, image in enumerate(_read_file(source, images)):
            here = f"{source}: images[{place}]"
            number = re.sub(r"^COCO_[a-z]+2014_", "", image.name)
            if number in place_of:
                raise DataError(f"{here}: {image.name} is {place_of[number]} too; keep one")
            place_of[number] = here
            yield image


def _read_file(source: Path, images: Path) -> Iterator[CaptionedImage]:
    content = read_json(source, _File)
    captions = defaultdict[str, list[str]](list)
    for annotation in content.annotations:
        captions[annotation.image_id].append(annotation.caption)
    split, year = _split_and_year(source)
    below = images / f"{split}{year}"
    folder = FilesBelow(below if year and below.is_dir() else images)
    place_of: dict[str, int] = {}
    for place, image in enumerate(content.images):
        here = f"{source}: images[{place}]"
        if place_of.setdefault(image.id, place) != place:
            both = f"id {image.id:.40} is that of images[{place_of[image.id]}] too; keep one"
            raise DataError(f"{here}: {both}")
        if image.file_name:
            name, path = folder.find(image.file_name)
        elif image.id.isascii() and image.id.isdecimal():
            number = f"{image.id.zfill(12)}.jpg"
            name, path = folder.find(f"COCO_{split}{year}_{number}")
            if not path.exists():
                name, path = folder.find(number)
        else:
            raise DataError(f"{here}: no file_name, and id {image.id!r:.40} does not make one")
        yield CaptionedImage(name, path, split_name(split), tuple(captions[image.id]))
    if unknown := captions.keys() - place_of.keys():
        problem = f"a caption has image_id {min(unknown):.40}, which no image has"
        raise DataError(f"{source}: {problem}")


def _split_and_year(source: Path) -> tuple[str, str]:
    """As the file's name says, such as train and 2014; empty if it does not."""
    match = re.search(r"(?<![a-z])(train|val|test)(\d{4})?(?![a-z\d])", source.stem.lower())
    return (match[1], match[2] or "") if match else ("", "")
