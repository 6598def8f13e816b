"""Check a dataset folder."""

import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import DataFolder, progress, say, tell
from mrnn.errors import printable

LISTED = "# Missing or broken photos, found by mrnn"
"""The first line of the list that `--broken` writes."""


def check(
    data: DataFolder,
    *,
    broken: Annotated[
        Path | None,
        typer.Option(
            help="List all missing and broken photos in this file, for prepare --leave-out-file"
        ),
    ] = None,
) -> None:
    """Look for what would make training wrong: broken images, leaks, odd captions."""
    from mrnn.data.check import check_dataset
    from mrnn.data.dataset import Dataset

    if broken:
        check_broken_list(broken)
    dataset = Dataset.load(data)
    with progress("Checking", len(dataset.images)) as advance:
        report = check_dataset(dataset, on_image=advance)
    for line in report.lines():
        say(_wrapped(printable(line)))
    if broken:
        write_broken_list(broken, report.unreadable)
    elif report.unreadable:
        tell("--broken FILE lists all missing and broken photos, for prepare --leave-out-file")
    if report.errors:
        raise typer.Exit(1)


def check_broken_list(file: Path) -> None:
    """Refuses, before any work, a file that cannot be or must not be written."""
    from mrnn.outputs import check_output

    check_output("--broken", file, ours=lambda start: start.startswith(LISTED.encode()))


def write_broken_list(file: Path, names: Iterable[str]) -> None:
    """The names of images, as `mrnn prepare --leave-out-file` takes them."""
    from mrnn.outputs import write_whole

    listed = [LISTED, *map(printable, names)]
    write_whole(file, "\n".join([*listed, ""]))
    tell(f"Listed {len(listed) - 1:,} missing or broken photos in {file}")


def _wrapped(line: str) -> str:
    """As wide as the terminal; in a pipe a line stays one."""
    if not sys.stdout.isatty():
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
