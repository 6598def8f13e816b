"""Where shards are: a path on this machine, or a URL of any kind that fsspec knows."""

import glob
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit
from zlib import crc32

from mrnn.data.shards.photo import Stream
from mrnn.errors import DataError, MissingExtraError, MRNNError, printable

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
LARGEST_RANGE = 10_000_000
SAMPLE = 65_536
"""Bytes from the beginning of a file that tell it from others of its name and size."""


def is_url(location: str) -> bool:
    """Whether it is a URL, not a path."""
    return URL.match(location) is not None


def shown(location: str) -> str:
    """A location as messages name it: without a password, or the signature of a signed URL."""
    if not is_url(location):
        return printable(location)
    parts = urlsplit(location)
    host = parts.netloc.rpartition("@")[2]
    return printable(urlunsplit((parts.scheme, host, parts.path, "", "")))


def base_name(location: str) -> str:
    """The last part of its path."""
    path = urlsplit(location).path or location if is_url(location) else location
    return os.path.basename(path.rstrip("/"))


def expand(pattern: str) -> list[str]:
    """The locations that a glob, a {000..999} range or neither stands for, in order."""
    if found := RANGE.search(pattern):
        first, last = found.groups()
        if not 0 <= int(last) - int(first) < LARGEST_RANGE:
            raise DataError(f"{shown(pattern)}: {found[0]} is no range; write {{000..999}}")
        width = len(first) if len(first) == len(last) or first[0] == "0" else 0
        places = (f"{each:0{width}}" for each in range(int(first), int(last) + 1))
        return [each for place in places for each in expand(RANGE.sub(place, pattern, count=1))]
    if not any(mark in pattern for mark in "*?[") or os.path.lexists(pattern):
        return [pattern]
    if not is_url(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    with reading(pattern):
        files, path = _file_system(pattern)
        return sorted(files.unstrip_protocol(name) for name in files.glob(path))


@contextmanager
def open_location(location: str) -> Iterator[Stream]:
    """A file to read from its beginning; some can only be read forwards. Raises DataError."""
    with reading(location):
        stream = _open(location)
    with stream:
        yield stream


def read_location(location: str, most: int) -> bytes:
    """The content of a file. Raises DataError, also for one of more than `most` bytes."""
    with open_location(location) as stream, reading(location):
        content = stream.read(most + 1)
    if len(content) > most:
        raise DataError(f"{shown(location)}: larger than {most:,} bytes; make it smaller")
    return content


def stamp_of(location: str) -> str:
    """What tells a file from another of its name, cheaply: its size and a checksum of its head."""
    with open_location(location) as stream, reading(location):
        head = stream.read(SAMPLE)
        size = _size(location)
    return f"{size}-{crc32(head):08x}"


@contextmanager
def reading(location: str) -> Iterator[None]:
    """Whatever goes wrong with a location becomes a DataError of one line."""
    try:
        yield
    except MRNNError:
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says that no file is there where no server is
        missing = isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) == 404
        if cause is None or missing:
            raise DataError(f"{shown(location)}: no such file") from None
        raise DataError(f"{shown(location)}: cannot be reached ({cause})") from error
    except ImportError as error:
        raise MissingExtraError(f"{shown(location)}: {error}") from error
    except Exception as error:  # of fsspec and whatever it calls
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{shown(location)}: cannot be read ({reason})") from error


def _open(location: str) -> Any:  # noqa: ANN401
    if is_url(location):
        files, path = _file_system(location)
        return files.open(path, "rb")
    mode = os.stat(location).st_mode
    if stat.S_ISDIR(mode):
        raise DataError(f"{shown(location)}: a folder; name the files in it")
    if not stat.S_ISREG(mode):
        raise DataError(f"{shown(location)}: not a plain file; save it to a file first")
    return open(location, "rb")


def _size(location: str) -> int:
    if not is_url(location):
        return os.stat(location).st_size
    files, path = _file_system(location)
    return int(files.size(path) or 0)


def _file_system(url: str) -> tuple[Any, str]:
    """Of fsspec, and the path in it."""
    return cast("tuple[Any, str]", _fsspec().core.url_to_fs(url))


@cache
def _fsspec() -> Any:  # noqa: ANN401
    try:
        return import_module("fsspec")
    except ImportError:
        raise MissingExtraError(
            "To read from a URL mrnn needs fsspec. Run: pip install 'mrnn[scale]'"
        ) from None
