"""The command line: parse, one call, print. Results go to stdout, all else to stderr.

Exit 0: done. 1: a user's error, or some inputs failed while the others were done. 2: usage.
"""

import os
import sys
from typing import Annotated

import typer

from mrnn import __version__
from mrnn.cli.captioning import caption, demo
from mrnn.cli.consensus import rerank
from mrnn.cli.data import check, extract, prepare
from mrnn.cli.evaluation import evaluate
from mrnn.cli.report import report
from mrnn.cli.retrieval import train_heads
from mrnn.cli.scores import compare, score
from mrnn.cli.searching import index, search
from mrnn.cli.terminal import tell
from mrnn.cli.training import train
from mrnn.errors import MRNNError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    prepare, check, extract, train, train_heads, caption, rerank, evaluate, score, compare,
    report, index, search, demo,
):  # fmt: skip
    app.command()(command)


def _print_version(asked: bool | None) -> None:
    if asked:
        print(f"mrnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version"),
    ] = None,
) -> None:
    """Captions for photos by the multimodal recurrent network (m-RNN)."""


INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of the signal."""


def main() -> None:
    """The `mrnn` command."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app(prog_name="mrnn")
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            tell("mrnn: interrupted; what was finished is kept")
        raise
    except MRNNError as error:
        tell(f"mrnn: {error}")
        sys.exit(1)
    except OSError as error:  # a full disk, a read-only folder
        try:
            sys.stdout.flush()
        except OSError:  # the exit would try again, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            tell(f"mrnn: {error.filename or 'output'}: {error.strerror or error}")
        sys.exit(1)
