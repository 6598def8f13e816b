"""Files that are there whole or not at all, and the name of one that cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIBLING = ".mrnn-new"
"""What the name of a file ends with while it is written: no one else's files end so."""


def write_whole(file: Path, content: str | bytes) -> None:
    """To a sibling, then renamed, so that what was there stays until all is written.

    Text is UTF-8. Raises OSError with the name of the file, and leaves no sibling.
    """
    sibling = file.with_name(file.name + SIBLING)
    try:
        sibling.write_bytes(content.encode() if isinstance(content, str) else content)
        sibling.replace(file)
    except OSError as error:
        with suppress(OSError):
            sibling.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error


def check_writable(file: Path) -> None:
    """Raises now, before the work, the OSError of a folder that takes no file."""
    sibling = file.with_name(file.name + SIBLING)
    try:
        sibling.touch()
        sibling.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Gives an OSError the name of the file: a write that fails does not know it."""
    try:
        yield
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error
