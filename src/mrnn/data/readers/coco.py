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

from pydantic import BaseModel, Field

from mrnn.data.dataset import CaptionedImage
from mrnn.data.splits import split_name
from mrnn.errors import DataError
from mrnn.files import read_json


class _Image(BaseModel):
    id: int | str
    file_name: str | None = Field(None, min_length=1)


class _Annotation(BaseModel):
    image_id: int | str
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
            here = f"{source}: images.{place}"
            number = re.sub(r"^COCO_[a-z]+2014_", "", image.name)
            if number in place_of:
                raise DataError(f"{here}: {image.name} is {place_of[number]} too; keep one")
            place_of[number] = here
            yield image


def _read_file(source: Path, images: Path) -> Iterator[CaptionedImage]:
    content = read_json(source, _File)
    captions = defaultdict[int | str, list[str]](list)
    for annotation in content.annotations:
        captions[annotation.image_id].append(annotation.caption)
    split, year = _split_and_year(source)
    folder = images / f"{split}{year}"
    if not (year and folder.is_dir()):
        folder = images
    place_of: dict[int | str, int] = {}
    for place, image in enumerate(content.images):
        if place_of.setdefault(image.id, place) != place:
            both = f"id {image.id!r} is that of images.{place_of[image.id]} too"
            raise DataError(f"{source}: images.{place}: {both}")
        name = image.file_name or _name_on_disk(folder, image.id, split + year)
        if not name:
            problem = f"no file_name, and id {image.id!r} does not make one"
            raise DataError(f"{source}: images.{place}: {problem}")
        yield CaptionedImage(name, folder / name, split_name(split), tuple(captions[image.id]))
    if unknown := captions.keys() - place_of.keys():
        problem = f"a caption has image_id {min(unknown, key=str)!r}, which no image has"
        raise DataError(f"{source}: {problem}")


def _split_and_year(source: Path) -> tuple[str, str]:
    match = re.search(r"(?<![a-z])(train|val|test)(\d{4})?(?![a-z\d])", source.stem.lower())
    return (match[1], match[2] or "") if match else ("", "")


def _name_on_disk(folder: Path, number: int | str, part: str) -> str:
    """The name of 2014, if such an image is there, or else that of 2017; "" for no number."""
    if not re.fullmatch(r"\d+", str(number)):
        return ""
    name = f"{int(number):012}.jpg"
    older = f"COCO_{part}_{name}"
    return older if (folder / older).exists() else name
