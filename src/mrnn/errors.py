"""What can go wrong, in one tree, and how it is told.

MRNNError
├── ImageError         a photo cannot be read
├── DataError          a caption file, a dataset folder or a feature file is wrong
├── CheckpointError    a trained model cannot be loaded, or does not suit what it is used with
├── MeasureError       an optional measure cannot run on this computer
├── MissingExtraError  a command needs an extra that is not installed
├── OptionsError       an option or a recipe has an unknown key or an impossible value
└── TrainingError      a training run cannot go on

A message is one line: what is wrong, with the value; what was expected; and what mends it.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONG, LONGEST_WORD, LONGEST = 300, 120, 500
"""Characters of a message in which longer words are cut, of such a word, and of any message."""
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, which steer a terminal
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions, which show a name in another order
    "\u2028\u2029\ufeff"  # ends of lines, and a mark that no one sees
    "\ud800-\udfff]"  # bytes that are not UTF-8
)


def printable(text: object) -> str:
    r"""For people to read: one line, with \x1b for what steers, misleads or cannot be shown."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], str(text))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, or its beginning and its end."""
    if len(text) <= longest:
        return text
    tail = longest // 2
    return f"{text[: longest - tail - 3]}...{text[-tail:]}"


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun: 1 photo, 2,000 photos. `many` is for what takes more than an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Gives an OSError the name of the file: a write that fails does not know it."""
    try:
        yield
    except OSError as error:
        if error.filename and not Path(os.fsdecode(error.filename)).name.startswith(".mrnn-"):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


class MRNNError(Exception):
    """A problem that the user can mend; its text is one clear line of 500 characters at most."""

    def __init__(self, message: object = "") -> None:
        text = printable(message)
        if len(text) > LONG:
            text = " ".join(shortened(word, LONGEST_WORD) for word in text.split(" "))
        super().__init__(shortened(text))


class ImageError(MRNNError):
    """A photo cannot be read."""


class DataError(MRNNError):
    """A caption file, a dataset folder or a feature file is wrong."""


class CheckpointError(MRNNError):
    """A trained model cannot be loaded, or does not suit what it is used with."""


class MeasureError(MRNNError):
    """An optional measure cannot run on this computer."""


class MissingExtraError(MRNNError):
    """A command needs an extra that is not installed."""


class OptionsError(MRNNError):
    """An option or a recipe has an unknown key or an impossible value."""


class TrainingError(MRNNError):
    """A training run cannot go on."""
