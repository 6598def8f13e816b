"""Runs commands in processes of their own, which may be killed, and compares what they leave.

A world is a folder with photos, captions, a dataset and a trained model. Each trial starts from the
same world at the same path, as outputs hold paths. The processes start at once, because a server
keeps what they import (see `processes` in conftest.py).
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PHOTOS = "photos"
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
"""Audit events of changes of a file system, beside files opened to be written."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """The exit code, or minus the number of the signal."""
    err: str
    changes: int
    """Changes of files in the world."""

    @property
    def lines(self) -> list[str]:
        """What was told on stderr."""
        return self.err.splitlines()


class World:
    """A folder that each trial finds as it was."""

    def __init__(self, pristine: Path, context) -> None:
        self.path = pristine.parent / "world"
        self._pristine, self._context = pristine, context
        self._photos = {
            f"{PHOTOS}/{path.name}": path.read_bytes() for path in (pristine / PHOTOS).iterdir()
        }

    def reset(self) -> None:
        """As it was. Photos stay, as their times of change cannot be set; nothing else does."""
        self.path.mkdir(exist_ok=True)
        for path in self.path.iterdir():
            if path.name != PHOTOS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._pristine.iterdir():
            copy = self.path / path.name
            if not copy.exists():
                shutil.copytree(path, copy) if path.is_dir() else shutil.copy2(path, copy)
        for path in (self.path / PHOTOS).iterdir():
            if not (self._pristine / PHOTOS / path.name).exists():
                path.unlink()
        assert self.files(PHOTOS) == self._photos

    def keep(self) -> None:
        """From now on each trial finds it as it is at the moment."""
        shutil.rmtree(self._pristine)
        shutil.copytree(self.path, self._pristine, symlinks=True)

    def run(self, arguments: Sequence[str], *, stop_at: int = 0, seconds: float = 0.0) -> Ended:
        """A command, killed before that change of a file (from 1) or after so many seconds."""
        return self.wait(self.start(arguments, stop_at=stop_at, seconds=seconds))

    def start(self, arguments: Sequence[str], *, stop_at: int = 0, seconds: float = 0.0):
        """As `run`, without waiting for its end."""
        process = self._context.Process(
            target=_command, args=(str(self.path), tuple(arguments), stop_at, seconds)
        )
        process.start()
        return process

    def wait(self, process) -> Ended:
        """How it ended."""
        process.join()
        told = self.path.parent / f"told-{process.pid}"
        err = (told / "err").read_text(errors="replace") if told.is_dir() else ""
        changes = told / "changes"
        counted = int(changes.read_text() or 0) if changes.exists() else 0
        shutil.rmtree(told, ignore_errors=True)
        return Ended(process.exitcode, err, counted)

    def files(self, *below: str) -> dict[str, bytes]:
        """Every file of these folders or files, hidden ones too."""
        found = {}
        for name in below:
            path = self.path / name
            paths = sorted(path.rglob("*")) if path.is_dir() else [path]
            for each in paths:
                if each.is_file():
                    found[str(each.relative_to(self.path))] = each.read_bytes()
        return found

    def leftovers(self) -> list[str]:
        """What only a process at work may have."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob(".mrnn-*"))


def _command(world: str, arguments: Sequence[str], stop_at: int, seconds: float) -> None:
    """In the new process: the command line, as if the user had called it there."""
    from mrnn.cli import main
    from mrnn.model import image_encoder

    told = Path(world).parent / f"told-{os.getpid()}"
    told.mkdir()
    sys.stdout, sys.stderr = (told / "out").open("w"), (told / "err").open("w")
    os.chdir(world)
    image_encoder.SHIPPED = Path(world, "encoders")
    sys.argv = ["mrnn", *arguments]
    count = _count_changes(world, stop_at)
    if seconds:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process as SIGKILL does
        signal.setitimer(signal.ITIMER_REAL, seconds)
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        (told / "changes").write_text(str(count()))
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _count_changes(world: str, stop_at: int) -> Callable[[], int]:
    """Counts changes of files in the world from now on; SIGKILL before one of them."""
    changes = 0

    def audit(event: str, arguments: tuple) -> None:
        nonlocal changes
        if event not in CHANGES and not (event == "open" and _writes(arguments)):
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(world + os.sep):
            return
        changes += 1
        if changes == stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    return lambda: changes


def _writes(arguments: tuple) -> bool:
    _, mode, flags = arguments
    if mode is not None:
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
