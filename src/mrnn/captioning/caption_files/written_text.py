"""What is written beside photos: the caption with words before and after it, and what it meets."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrnn.captioning.results import ImageCaptions


class Existing(StrEnum):
    """What becomes of a text that a photo has already."""

    skip = "skip"
    overwrite = "overwrite"
    append = "append"


@dataclass(frozen=True)
class WrittenText:
    """The best caption of a photo between two fixed texts, such as a trainer's trigger word."""

    prepend: str = ""
    append: str = ""

    def __call__(self, result: "ImageCaptions") -> str:
        """The text of a photo that has a caption."""
        return f"{self.prepend}{result.captions[0].text}{self.append}"
