"""Dataset folders, joined: the images of all, each in the split that it had."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.errors import DataError


def read_datasets(folders: Sequence[Path]) -> Iterator[CaptionedImage]:
    """The images, one folder's after the other's.

    Raises DataError for one folder alone, and for a name that is in two.
    """
    if len(folders) < 2:
        raise DataError(f"{folders[0]} alone: give two dataset folders or more to join")
    folder_of: dict[str, Path] = {}
    for folder in folders:
        for image in Dataset.load(folder).images:
            if before := folder_of.get(image.name):
                raise DataError(
                    f"{image.name} is in {before} and in {folder}; names must be unique, so "
                    "prepare one of them with --leave-out, or rename the photo"
                )
            folder_of[image.name] = folder
            yield image
