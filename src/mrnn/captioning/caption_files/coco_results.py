"""Captions in the form that the COCO server takes."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from mrnn.errors import DataError
from mrnn.outputs import write_whole


def coco_ids(names: Sequence[str]) -> list[int]:
    """The image ids of the COCO server, e.g. 42 of COCO_val2014_000000000042.jpg.

    Raises DataError for a name without one, and for two names of one image.
    """
    name_of: dict[int, str] = {}
    for name in names:
        number = re.fullmatch(
            r"(?:.*/)?(?:COCO_[a-z]+\d{4}_)?0*(\d{1,18})(?:\.\w+)?", name, re.ASCII
        )
        if not number:
            raise DataError(
                f"{name!r} holds no image id; the COCO server takes whole numbers, as in "
                "COCO_val2014_000000391895.jpg"
            )
        if (first := name_of.setdefault(int(number[1]), name)) is not name:
            raise DataError(f"{first!r} and {name!r} have one image id, {int(number[1])}")
    return list(name_of)


def write_coco_results(file: Path, ids: Sequence[int], captions: Sequence[str]) -> None:
    """Captions in the form that the COCO server takes, one an image."""
    results = [
        {"image_id": number, "caption": caption}
        for number, caption in zip(ids, captions, strict=True)
    ]
    write_whole(file, json.dumps(results, ensure_ascii=False) + "\n")
