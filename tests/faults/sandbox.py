"""A loader run on thousands of mutated files, in a process with bounds on memory and time.

    check_mutations(folder / "config.json", lambda: Checkpoint.load(folder), folder, cases=200)

One forked process takes all cases; one that dies or hangs is a fault, and the next case gets
another. A loader either returns, or raises an `MRNNError` of one line with one of the names.
"""

import multiprocessing
import os
import resource
import shutil
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from mrnn.errors import LONGEST, LONGEST_WORD, MRNNError, printable, shortened
from tests.faults.mutations import mutations

SECONDS = 10
BYTES = 3 * 2**29
"""1.5 GB that a process may take beyond what it has when it begins."""
ODD_FILES = ("absent", "empty", "folder", "pipe", "endless", "socket", "loop", "dangling")
"""What may stand in the place of a file; see `odd_file`."""

Load = Callable[[], object]


class Sandbox:
    """Runs a loader in a forked process, which begins with all that this one has loaded."""

    def __init__(self, load: Load, *names: object) -> None:
        whole = [printable(name) for name in names]
        self._load, self._names = load, [*whole, *(shortened(n, LONGEST_WORD) for n in whole)]
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def attempt(self) -> str:
        """The message of an error that is as it should be; "" if all was well.

        Raises AssertionError for a traceback, a message that is not as it should be, and a process
        that takes too long, too much memory, or dies.
        """
        if self._process is None:
            self._start()
        assert self._pipe
        self._pipe.send(True)
        if not self._pipe.poll(SECONDS):
            self._stop()
            raise AssertionError(f"it took more than {SECONDS} seconds")
        try:
            fault, message = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._stop()
            raise AssertionError(f"the process died: {code}") from None
        assert not fault, fault
        return message

    def _start(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._serve, args=(ours, theirs), daemon=True)
        with warnings.catch_warnings():  # of other threads, which wait for work
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()
        self._pipe = ours

    def _serve(self, ours: Connection, theirs: Connection) -> None:
        ours.close()
        _limit_memory()
        with suppress(EOFError, KeyboardInterrupt):
            while theirs.recv():
                theirs.send(self._outcome())

    def _outcome(self) -> tuple[str, str]:
        """A fault, and the message of a good error."""
        try:
            self._load()
        except MRNNError as error:
            return self._judge(str(error)), str(error)
        except BaseException:
            return "".join(traceback.format_exc(limit=-6))[-3000:], ""
        return "", ""

    def _judge(self, message: str) -> str:
        if printable(message) != message:
            return f"not one printable line: {message!r:.500}"
        if len(message) > LONGEST:
            return f"{len(message)} characters: {message:.500}"
        if not any(name in message for name in self._names):
            return f"names none of {self._names}: {message}"
        return ""

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.join()
        if self._pipe:
            self._pipe.close()
        self._process = self._pipe = None

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


def _limit_memory() -> None:
    """To `BYTES` more than there is now; memory of the process before does not count."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def check_mutations(file: Path, load: Load, *names: object, cases: int) -> None:
    """Loads so many mutations of a file; see `Sandbox.attempt`. The file is whole again in the end.

    The names are those of which each message must have one, such as the folder's. The same cases
    are tried each time. A mutation that was a fault stays beside the folder, as fault-NAME.
    """
    content = file.read_bytes()
    refused = loaded = 0
    kept = file.parents[1] / f"fault-{file.name}"
    with Sandbox(load, *names) as sandbox:

        @settings(
            max_examples=cases, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(mutations(file.name, content))
        def try_one(mutated: bytes) -> None:
            nonlocal refused, loaded
            file.write_bytes(mutated)
            try:
                told = sandbox.attempt()
            except AssertionError:
                kept.write_bytes(mutated)
                raise
            refused, loaded = refused + bool(told), loaded + (not told)

        try:
            file.write_bytes(content)
            assert not (told := sandbox.attempt()), f"the file as it was is refused: {told}"
            try_one()
        finally:
            file.write_bytes(content)
    assert refused, "every mutation was loaded: is the file read at all?"


@contextmanager
def odd_file(file: Path, kind: str) -> Iterator[None]:
    """Something else in the place of a file: one of `ODD_FILES`.

    "endless" is a link to a device that never ends; nothing writes to the pipe.
    """
    aside = file.with_name(file.name + ".aside")
    file.rename(aside)
    server = socket.socket(socket.AF_UNIX)
    try:
        match kind:
            case "empty":
                file.touch()
            case "folder":
                file.mkdir()
            case "pipe":
                os.mkfifo(file)
            case "endless":
                file.symlink_to("/dev/zero")
            case "socket":
                descriptor = os.open(file.parent, os.O_RDONLY)
                server.bind(f"/proc/self/fd/{descriptor}/{file.name}")  # names of sockets are short
                os.close(descriptor)
            case "loop":
                file.symlink_to(file.name)
            case "dangling":
                file.symlink_to("nothing")
        yield
    finally:
        server.close()
        if file.is_dir() and not file.is_symlink():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
        aside.rename(file)


def check_odd_files(file: Path, load: Load, *names: object) -> None:
    """Loads with each of `ODD_FILES` in the place of a file; see `Sandbox.attempt`."""
    for kind in ODD_FILES:
        with odd_file(file, kind), Sandbox(load, *names) as sandbox:
            try:
                sandbox.attempt()
            except AssertionError as fault:
                raise AssertionError(f"{kind} in place of {file.name}: {fault}") from None
