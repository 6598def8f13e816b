"""Shared by commands: progress and messages on stderr, reports on stdout, arguments."""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.errors import MissingExtraError, printable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from mrnn.evaluation.captions import ScoreReport
    from mrnn.evaluation.comparison import ComparisonReport
    from mrnn.evaluation.evaluate import EvaluationReport

ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="A trained model's folder [default: the shipped one]")
]
EncoderFile = Annotated[
    Path | None,
    typer.Option(help="The image encoder, an ONNX file [default: the one that ships]"),
]
ConsensusSource = Annotated[
    str | None,
    typer.Option(
        metavar="self|none|DATA",
        help="Rerank by consensus: with each other, or with captions of similar photos in DATA",
    ),
]


class Device(StrEnum):
    """Where training runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


TrainingDevice = Annotated[
    Device, typer.Option(help="Where to train; auto is cuda if there, else mps, else cpu")
]


class RunDevice(StrEnum):
    """Where a trained model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    coreml = "coreml"
    directml = "directml"


ModelDevice = Annotated[
    RunDevice, typer.Option("--device", help="Where the model runs; auto is the best that is there")
]
SECONDS_A_LINE = 30.0
"""Between two lines of progress."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing file that is not an earlier output")
]
DataFolder = Annotated[Path, typer.Argument(help="A dataset folder made by `mrnn prepare`")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text")]


def bar(*columns: "ProgressColumn") -> "Progress":
    """Progress on stderr; none when that is not a terminal.

    Printed lines go to stdout as always; in a terminal they appear above the bar.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), *columns,
        console=Console(stderr=True, soft_wrap=True), disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
    )  # fmt: skip


class Pace:
    """When a line of progress is due, where there is no bar."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last line was long enough ago; if so, the next one starts to wait."""
        now = time.monotonic()
        if now - self._last < SECONDS_A_LINE:
            return False
        self._last = now
        return True


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar over `total` photos, or a line each half minute where stderr is no terminal.

    Without `total`, as many as there are.

    Gives what to call for each, or for a number of them.
    """
    if sys.stderr.isatty():
        with bar() as shown:
            task = shown.add_task(what, total=total)
            yield lambda count=1: shown.update(task, advance=count)
        return
    done, started, ended = 0, time.monotonic(), threading.Event()

    def advance(count: int = 1) -> None:
        nonlocal done
        done += count

    def tell_now_and_then() -> None:  # in a thread: a photo, or what loads, may take long
        while not ended.wait(SECONDS_A_LINE):
            seconds = time.monotonic() - started
            of = f" of {total:,}{_left(done, total, seconds)}" if total is not None else ""
            tell(f"{what}: {done:,}{of}")

    teller = threading.Thread(target=tell_now_and_then, daemon=True)
    teller.start()
    try:
        yield advance
    finally:
        ended.set()
        teller.join()


def _left(done: int, total: int, seconds: float) -> str:
    """How long the rest will take, if it goes on like that."""
    if not 0 < done < total:
        return ""
    left = seconds / done * (total - done)
    for unit, length in (("h", 3600), ("min", 60)):
        if left >= 2 * length:
            return f", about {left / length:.0f} {unit} left"
    return f", about {left:.0f} s left"


def show(
    report: "ScoreReport | ComparisonReport | EvaluationReport",
    text: Callable[[], str],
    *,
    as_json: bool,
) -> None:
    """A report: its notes on stderr, and itself as JSON or as text."""
    for note in report.notes:
        tell(f"Note: {note}")
    print_json(report.model_dump_json()) if as_json else say(text())


def run_name(folder: Path) -> str:
    """The name of a model in a report."""
    from mrnn.model.checkpoint import DEFAULT_MODEL

    return "the shipped model" if folder == DEFAULT_MODEL else str(folder)


def tell(line: object) -> None:
    """A line on stderr; what could steer a terminal is escaped."""
    print(printable(line), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Lines on stdout, for people; what could steer a terminal is escaped."""
    print("\n".join(map(printable, text.split("\n"))), flush=True)


def print_json(text: str) -> None:
    """A line of JSON on stdout, in ASCII where stdout is not UTF-8."""
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        text = _NOT_ASCII.sub(_escaped, text)
    print(text, flush=True)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def is_url(out: Path) -> bool:
    """Whether an output is a URL, as `Path` writes it."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", out.as_posix()) is not None


def consensus_source(given: str | None) -> str | None:
    """The value of `--consensus`: nothing, "self", or a dataset folder."""
    return None if given == "none" else given


def found_device(asked: RunDevice) -> str:
    """The device; what `auto` found is told. Raises OptionsError where it is not there."""
    from mrnn.model.devices import find_device

    device = find_device(asked)
    if asked is RunDevice.auto:
        tell(f"The model runs on: {device}")
    return device


def needs_torch(what: str = "Training") -> None:
    """Raises MissingExtraError where PyTorch is not installed."""
    if find_spec("torch") is None:
        raise MissingExtraError(f"{what} needs PyTorch. Run: pip install 'mrnn[train]'")
