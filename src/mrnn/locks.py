"""Locks: one writer of a file or a folder at a time.

They are flock(2)'s and end with their process, so a dead one is no obstacle. Windows has none.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from mrnn.errors import DataError, naming

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS = fcntl is not None
LOCK = ".mrnn-lock"
"""How the names of lock files begin."""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keeps other writers of a file out, by a lock file beside it that is removed in the end.

    Raises DataError if there is another, OSError where the folder takes no file.
    """
    real = Path(os.path.realpath(file))
    name = hashlib.sha256(os.fsencode(real.name)).hexdigest()[:16]
    with naming(file), _lock(real.with_name(f"{LOCK}-{name}"), file):
        yield


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keeps other writers of a folder out; makes it if there is none.

    A folder that is empty in the end is removed if it was made. Raises as `locked`.
    """
    made = not folder.exists()
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with _lock(folder / LOCK, folder):
                yield
        finally:
            if made:
                with suppress(OSError):
                    folder.rmdir()


def try_lock(file: IO[Any] | int) -> bool:
    """Lock an open file until it is closed; False if another process has locked it.

    Always True where the system has no such locks, as on Windows.
    """
    if not HAS_LOCKS:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _lock(lock: Path, what: Path) -> Iterator[None]:
    while True:
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(lock, flags, 0o666)
        alone = try_lock(descriptor)
        if not alone or is_at(descriptor, lock):
            break
        os.close(descriptor)  # its owner has just removed it: not the lock any more
    try:
        if not alone:
            raise DataError(f"{what} is being written by another mrnn; wait until it is done")
        yield
    finally:
        if alone:
            with suppress(OSError):
                os.unlink(lock)
        os.close(descriptor)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Locks a folder itself, so that it is not taken for a leftover."""
    if not HAS_LOCKS:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def share(folder: Path) -> int:
    """A descriptor of a folder that nobody can hold `alone` until it is closed.

    Waits for who holds it alone. Raises OSError if there is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    if HAS_LOCKS:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody shares a folder; if so, who wants to waits for the end of the block.

    Always False where the system has no such locks, as on Windows.
    """
    if not HAS_LOCKS:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one under that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
