"""Karpathy's dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json, and their like.

images[]   filename, filepath (a folder, for COCO), split, sentences[].raw

Split val is our dev; restval, the rest of COCO's validation images, is train.

Source: Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments", CVPR 2015.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from mrnn.data.dataset import CaptionedImage
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
    place_of: dict[str, int] = {}
    for place, image in enumerate(read_json(source, _File).images):
        name = image.filename
        if place_of.setdefault(name, place) != place:
            raise DataError(f"{source}: images.{place}: {name} is images.{place_of[name]} too")
        captions = tuple(sentence.raw for sentence in image.sentences)
        path = images / image.filepath / name
        yield CaptionedImage(name, path, split_name(image.split), captions)
