"""Files that are there whole or not at all."""

from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, content: str | bytes) -> None:
    """To a sibling, then renamed, so that what was there stays until all is written.

    Text is UTF-8. Raises OSError with the name of the file, and leaves no sibling.
    """
    sibling = file.with_name(file.name + ".new")
    try:
        sibling.write_bytes(content.encode() if isinstance(content, str) else content)
        sibling.replace(file)
    except OSError as error:
        with suppress(OSError):
            sibling.unlink()
        raise OSError(error.errno, error.strerror, str(file)) from error
