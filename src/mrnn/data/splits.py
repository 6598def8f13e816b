"""Assignment of images to train, dev and test: by the source, by lists, or at random.

A list is a text file with one image a line: its name, or its file name alone, with or without the
suffix ("00/25.jpg", "00/25", "25.jpg", "25"), or its path.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.name_matching import ImageNames
from mrnn.errors import DataError, OptionsError, counted, shortened
from mrnn.files import read_lines

SPLITS = ("train", "dev", "test")
FRACTIONS = (0.8, 0.1, 0.1)

OUR_NAME = {"val": "dev", "valid": "dev", "validation": "dev", "restval": "train"}


def split_name(name: str) -> str:
    """Our name of a split that other sources call val, validation or restval."""
    plain = name.strip().lower()
    return OUR_NAME.get(plain, plain)


def divide(
    images: Iterable[CaptionedImage],
    *,
    lists: Sequence[str] = (),
    fractions: Sequence[float] | None = None,
    seed: int | None = None,
    leave_out: Sequence[str] = (),
    leave_out_files: Sequence[Path] = (),
) -> tuple[list[CaptionedImage], list[str]]:
    """The images that have captions and a split, and notes on those that are left out.

    Split by `lists` ("dev=FILE"); without these at random, if `fractions` or `seed` is given or the
    source has no splits. Raises OptionsError or DataError.
    """
    every = list(images)
    unwanted, notes = _left_out(every, leave_out, leave_out_files)
    if lists:
        if fractions or seed is not None:
            raise OptionsError(
                "--split-list leaves nothing for --fractions and --seed; give one or the other"
            )
        every = split_by_lists(every, map(_list_of, lists))
    wanted = [image for image in every if image.name not in unwanted]
    described = [image for image in wanted if image.captions]
    if bare := len(wanted) - len(described):
        told = counted(bare, "image without captions is", "images without captions are")
        notes.append(f"{told} left out")
    asked = fractions is not None or seed is not None
    if described and not lists and (asked or not any(image.split for image in described)):
        described = split_at_random(described, fractions or FRACTIONS, seed or 0)
        if not asked:
            notes.append("The source has no splits: train, dev and test are chosen at random")
    divided = [image for image in described if image.split]
    if outside := len(described) - len(divided):
        told = counted(outside, "image in no split is", "images in no split are")
        notes.append(f"{told} left out")
    return divided, notes


def _left_out(
    images: Sequence[CaptionedImage], given: Sequence[str], files: Sequence[Path]
) -> tuple[set[str], list[str]]:
    """The names of the images to leave out, and notes on lines of the files that mean none.

    Lines that begin with # and a space are remarks. Raises DataError.
    """
    names, places, notes = ImageNames(images), set[int](), list[str]()
    for name in given:
        if len(found := names.find(name)) != 1:
            raise DataError(f"there is no image {name!r:.80} to leave out; give the whole name")
        places.update(found)
    for file in files:
        lines = [(n, line) for n, line in read_lines(file) if not line.startswith("# ")]
        known = {number: names.find(line.strip()) for number, line in lines}
        for number, line in lines:
            _refuse_several(images, known[number], line, f"{file}:{number}")
            places.update(known[number])
        strange = [line for number, line in lines if not known[number]]
        if strange and len(strange) == len(lines):
            problem = (
                f"no image of the source is in it; the first line is {strange[0].strip()!r:.80}"
            )
            raise DataError(f"{file}: {problem}")
        if strange:
            notes.append(f"{file}: {len(strange):,} of {len(lines):,} names are not in the source")
    return {images[place].name for place in places}, notes


def _refuse_several(
    images: Sequence[CaptionedImage], places: Sequence[int], line: str, where: str
) -> None:
    if len(places) > 1:
        both = shortened(" and ".join(images[place].name for place in places[:2]), 120)
        raise DataError(f"{where}: {line.strip()!r:.80} may be {both}; write the whole name")


def _list_of(text: str) -> tuple[str, Path]:
    split, equals, file = text.partition("=")
    if not (split_name(split) and equals and file):
        raise OptionsError(f"{text!r} is not a split list; write SPLIT=FILE, as dev=dev.txt")
    return split_name(split), Path(file)


def split_by_lists(
    images: Iterable[CaptionedImage], lists: Iterable[tuple[str, Path]]
) -> list[CaptionedImage]:
    """The images in the order of the lists of each split, then those in no list, without a split.

    Raises DataError, with file and line.
    """
    every = list(images)
    names = ImageNames(every)
    listed: dict[int, tuple[str, Path]] = {}
    for split, file in lists:
        for number, line in read_lines(file):
            found, name = names.find(line.strip()), f"{line.strip()!r:.80}"
            _refuse_several(every, found, line, f"{file}:{number}")
            if not found:
                raise DataError(f"{file}:{number}: {name} has no captions in the source")
            if found[0] in listed:
                before = listed[found[0]][1]
                raise DataError(f"{file}:{number}: {name} is in {before} already")
            listed[found[0]] = split, file
    return [
        *(replace(every[place], split=split) for place, (split, _) in listed.items()),
        *(replace(image, split="") for place, image in enumerate(every) if place not in listed),
    ]


def split_at_random(
    images: Iterable[CaptionedImage], fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> list[CaptionedImage]:
    """The images of train, then of dev, then of test, each in the order of `images`.

    Seed and names alone decide which go where, not their order. A split whose fraction is above 0
    gets an image at least. Raises OptionsError or DataError.
    """
    if len(fractions) != 3 or not all(0 <= f < math.inf for f in fractions) or not fractions[0]:
        given = " ".join(map(str, fractions))
        raise OptionsError(
            f"--fractions {given}: expected those of train, dev and test, as 0.8 0.1 0.1"
        )
    every = list(images)
    dev, test = (max(1, round(len(every) * s / sum(fractions))) if s else 0 for s in fractions[1:])
    if every and dev + test >= len(every):
        raise DataError(f"{len(every)} images are too few to be split by {fractions}; add images")
    shuffled = sorted((image.name for image in every), key=lambda name: _hash(f"{seed}:{name}"))
    sizes = (len(every) - dev - test, dev, test)
    splits = (split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size))
    split_of = dict(zip(shuffled, splits, strict=False))
    divided = [replace(image, split=split_of[image.name]) for image in every]
    return sorted(divided, key=lambda image: SPLITS.index(image.split))


def hold_out(
    images: Sequence[CaptionedImage], count: int, asked: str = "training.held_out ="
) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """The images that are trained on, and `count` that are not, evenly spaced in their order.

    Raises OptionsError, which begins with how the count was `asked`, where none is left to train
    on.
    """
    if count and count >= len(images):
        raise OptionsError(
            f"{asked} {count} leaves no photo to train on of {len(images):,}; lower it"
        )
    places = {(2 * place + 1) * len(images) // (2 * count) for place in range(count)}
    kept = [image for place, image in enumerate(images) if place not in places]
    return kept, [images[place] for place in sorted(places)]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="backslashreplace")).digest()
