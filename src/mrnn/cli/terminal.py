"""What every command says on stderr: progress and messages; and the arguments that many share."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="A trained model's folder [default: the shipped one]")
]
DataFolder = Annotated[Path, typer.Argument(help="A dataset folder made by `mrnn prepare`")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text")]


def bar(*columns: ProgressColumn) -> Progress:
    """Progress on stderr; none when that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), *columns,
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A bar over `total` photos; gives what to call for each, or for a number of them."""
    with bar() as shown:
        task = shown.add_task(what, total=total)
        yield lambda count=1: shown.update(task, advance=count)


def tell(line: str) -> None:
    """A line on stderr."""
    print(line, file=sys.stderr, flush=True)
