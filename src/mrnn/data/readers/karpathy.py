"""Karpathy's dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json, and their like.

images[]   filename, filepath (a folder, for COCO), split, sentences[].raw

Split val is our dev; restval, the rest of COCO's validation images, is train.

Source: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments", CVPR 2015.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import FilesBelow
from mrnn.data.splits import split_name
from mrnn.errors import DataError
from mrnn.files import read_json


class _Sentence(BaseModel):
    raw: str


class _Image(BaseModel):
    filename: str = Field(min_length=1)
    filepath: str = ""
    split: str = ""
    sentences: list[_Sentence]


class _File(BaseModel):
    images: list[_Image]


def read_karpathy(source: Path, images: Path) -> Iterator[CaptionedImage]:
    """The images in the order of the file. Raises DataError."""
    folder = FilesBelow(images)
    place_of: dict[str, int] = {}
    for place, image in enumerate(read_json(source, _File).images):
        name = image.filename
        _, path = folder.find(f"{image.filepath}/{name}" if image.filepath else name)
        for key in (name, str(path)):
            if place_of.setdefault(key, place) != place:
                both = f"{name!r:.80} is images[{place_of[key]}] too; keep one"
                raise DataError(f"{source}: images[{place}]: {both}")
        captions = tuple(sentence.raw for sentence in image.sentences)
        yield CaptionedImage(name, path, split_name(image.split), captions)
