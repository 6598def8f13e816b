"""Outputs: files and folders that are there whole or not at all.

A file is written aside, under a random name that begins with `.mrnn-new-`, and renamed. While it is
written it is locked, so the next writer in that folder knows and removes what a killed one left.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from mrnn.errors import DataError, OptionsError, naming
from mrnn.locks import HAS_LOCKS, LOCK, held, is_at, locked, try_lock

ASIDE, STAGED = ".mrnn-new-", ".mrnn-staged-"
"""How the names begin of what is being written, and of what waits to be renamed together."""
COMMIT = ".mrnn-commit"
"""Lists the staged files of a folder that count from now on."""
PEEKED = 4096
"""Bytes of an existing file that tell whose it is."""

_swept: set[str] = set()


@contextmanager
def written_aside(file: Path, *, durable: bool = False) -> Iterator[IO[bytes]]:
    """A stream whose content becomes that of `file` when the block ends without an error.

    Until then what was there stays. A link is replaced, not followed. `durable` waits for the disk.
    Raises OSError with the name of the file, and leaves nothing.
    """
    with naming(file):
        _sweep(file.parent)
        stream, aside = _new_file(file.parent, ASIDE)
        try:
            with stream:
                yield stream
                _finish(stream, file, durable=durable)
                aside.replace(file)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise


def write_whole(file: Path, content: str | bytes) -> None:
    """As `written_aside`, for content at hand; text is UTF-8."""
    with written_aside(file) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which is made if need be; removed when the block ends.

    What is made in it and renamed is whole, or not there.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    folder = parent / f"{ASIDE}{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        with held(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(option: str, folder: Path) -> Iterator[Path]:
    """A folder that gets the name `folder` when the block ends well; one writer at a time.

    Raises as `check_new_folder`, DataError where another process writes it, or OSError.
    """
    with folder_aside(folder.parent) as aside, locked(folder):
        check_new_folder(option, folder)
        made = aside / "folder"
        made.mkdir()
        yield made
        made.rename(folder)


def check_new_folder(option: str, folder: Path) -> None:
    """Raises OptionsError where something has that name."""
    if os.path.lexists(folder):
        _sweep(folder.parent)
        raise OptionsError(f"{option} {folder} exists; name a new folder")


def replace_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files of a folder that count together, or not at all.

    An interruption after all are staged is finished by the next `finish_replacement`. The caller
    keeps other writers out. Raises OSError.
    """
    finish_replacement(folder)
    _sweep(folder)
    with naming(folder), ExitStack() as opened:
        moves = []
        for name, content in files.items():
            stream, staged = _new_file(folder, STAGED)
            opened.callback(_discard, staged)
            opened.enter_context(stream)
            stream.write(content)
            _finish(stream, folder / name, durable=True)
            moves.append([staged.name, name])
        write_whole(folder / COMMIT, json.dumps(moves))
        finish_replacement(folder)


def _discard(staged: Path) -> None:
    """Remove a file that will not count."""
    if not (staged.parent / COMMIT).exists():
        staged.unlink(missing_ok=True)


def finish_replacement(folder: Path) -> None:
    """Rename what an interrupted `replace_together` has left staged; to be called before reading.

    Raises DataError where the folder cannot be written, or its list is not ours.
    """
    commit = folder / COMMIT
    try:
        for staged, name in _moves(commit.read_bytes()):
            with suppress(FileNotFoundError):  # renamed before the interruption
                os.replace(folder / staged, folder / name)
        commit.unlink(missing_ok=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        problem = f"an interrupted write cannot be finished ({error.strerror})"
        raise DataError(f"{folder}: {problem}; make the folder writable") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DataError(f"{commit}: not written by mrnn; remove it") from None


def _moves(content: bytes) -> list[tuple[str, str]]:
    """From and to names in a folder. Raises ValueError, TypeError or RecursionError."""
    moves = [(os.fspath(staged), os.fspath(name)) for staged, name in json.loads(content)]
    if any(
        not staged.startswith(STAGED) or {os.sep, os.altsep, "/"} & {*staged, *name} or not name
        for staged, name in moves
    ):
        raise ValueError("other names")
    return moves


def check_output(
    option: str,
    file: Path,
    *,
    ours: Callable[[bytes], bool] | None = None,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
) -> None:
    """Refuses, before any work, a file that cannot be written after it, or must not be.

    Not an input of the same command; and without `overwrite` no file that is there already, but
    what `ours`, by its first 4096 bytes, takes for an earlier output. Raises OptionsError or
    OSError.
    """
    if file.is_dir():
        raise OptionsError(f"{option} {file} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise OptionsError(f"{option} {file}: there is no folder {file.parent}; make it first")
    if any(_same_file(file, each) for each in inputs):
        raise OptionsError(f"{option} {file} is an input of this command; name another file")
    if file.exists() and not file.is_file():
        raise OptionsError(f"{option} {file} is not a plain file; name another file")
    if not (overwrite or is_free(file, ours)):
        raise OptionsError(
            f"{option} {file} exists and is not an earlier output of this command; "
            "give another name, or --overwrite"
        )
    with naming(file):
        check_folder(file.parent)


def is_page(start: bytes) -> bool:
    """Whether a page of HTML that begins so is ours."""
    return b'<meta name="generator" content="mrnn">' in start


def is_free(file: Path, ours: Callable[[bytes], bool] | None) -> bool:
    """Whether there is no such file, or an empty one, or an earlier output."""
    try:
        with file.open("rb") as stream:
            start = stream.read(PEEKED)
    except FileNotFoundError:
        return True
    return not start or (ours is not None and ours(start))


def check_folder(folder: Path) -> None:
    """Raises now the OSError of a folder that takes no file."""
    _sweep(folder)
    with naming(folder):
        stream, aside = _new_file(folder, ASIDE)
        stream.close()
        aside.unlink()


def _same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)


def _new_file(folder: Path, prefix: str) -> tuple[IO[bytes], Path]:
    """A locked file under a name that nothing had."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(8)}"
        stream = path.open("xb")
        if try_lock(stream) and is_at(stream.fileno(), path):
            return stream, path
        stream.close()  # swept away before it was locked


def _finish(stream: IO[bytes], file: Path, *, durable: bool) -> None:
    """With the permissions of the file that it replaces, if there is one."""
    stream.flush()
    with suppress(OSError, AttributeError):
        os.fchmod(stream.fileno(), file.stat().st_mode & 0o777)
    if durable:
        os.fsync(stream.fileno())


def _sweep(folder: Path) -> None:
    """As `remove_leftovers`, but once a process, as photo folders are large."""
    key = os.path.realpath(folder)
    if not HAS_LOCKS or key in _swept:
        return
    _swept.add(key)
    remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a folder; what is being written is locked, and stays."""
    if not HAS_LOCKS:
        return
    prefixes = (ASIDE, f"{LOCK}-") + (() if os.path.lexists(folder / COMMIT) else (STAGED,))
    try:
        left = [entry.path for entry in os.scandir(folder) if entry.name.startswith(prefixes)]
    except OSError:  # whoever writes there tells
        return
    for path in left:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if try_lock(descriptor):
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            finally:
                os.close(descriptor)
