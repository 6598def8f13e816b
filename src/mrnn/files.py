"""Files: atomic writes, and text and JSON with the number of the line that is wrong."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from mrnn.errors import DataError

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


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; False if another process has locked it.

    Always True where the system has no such locks, as on Windows.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Gives an OSError the name of the file: a write that fails does not know it."""
    try:
        yield
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


_LINE = re.compile(r" at line (\d+)(?= column \d+$)")
Form = TypeVar("Form", bound=BaseModel)


def read_text(file: Path) -> str:
    r"""The text, its lines ended by \n; that of a .gz file is unpacked. Raises DataError."""
    opened = gzip.open if file.suffix.lower() == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as text:
            return text.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: not a whole .gz file ({error}); copy or pack it again") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}:{number}: not UTF-8; save the file as UTF-8") from None


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            yield number, line


def read_json(file: Path, form: type[Form]) -> Form:
    """A JSON file of a known form. Raises DataError with the line, or the place in the form."""
    try:
        return form.model_validate_json(read_text(file), strict=True)
    except ValidationError as error:
        raise DataError(f"{file}:{line_of(error)} {first_problem(error)}") from None


def utf8(text: str) -> str:
    r"""Without what no UTF-8 holds, such as a file's name in another encoding: \udcff for it."""
    return text.encode("utf-8", "backslashreplace").decode()


def first_problem(error: ValidationError) -> str:
    """The first thing wrong, with its place and value; of broken JSON, its place in the line."""
    problem = error.errors()[0]
    if problem["type"] == "json_invalid":
        return _LINE.sub(" at", problem["msg"])
    # A key may hold what ends a line.
    keys = [key if str(key).isprintable() else repr(key)[1:-1] for key in problem["loc"]]
    place = f"{'.'.join(map(str, keys)):.100}: " if keys else ""
    found = "" if problem["type"] == "missing" else f", not {problem['input']!r:.80}"
    return f"{place}{problem['msg']}{found}"


def line_of(error: ValidationError) -> str:
    """Where JSON is broken, as "7:"; nothing if it is whole."""
    problem = error.errors()[0]
    line = _LINE.search(problem["msg"]) if problem["type"] == "json_invalid" else None
    return f"{line[1]}:" if line else ""
