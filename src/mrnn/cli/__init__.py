"""The command line: parse, one call, print. Results go to stdout, all else to stderr.

Exit 0: done. 1: a user's error, or some inputs failed while the others were done. 2: usage.
"""

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from mrnn import __version__
from mrnn.cli.caption import caption
from mrnn.cli.check import check
from mrnn.cli.compare import compare
from mrnn.cli.demo import demo
from mrnn.cli.doctor import doctor
from mrnn.cli.embed import embed
from mrnn.cli.evaluate import evaluate
from mrnn.cli.export import export
from mrnn.cli.export_encoder import export_encoder
from mrnn.cli.extract import extract
from mrnn.cli.fine_tune import fine_tune
from mrnn.cli.index import index
from mrnn.cli.prepare import prepare
from mrnn.cli.report import report
from mrnn.cli.rerank import rerank
from mrnn.cli.score import score
from mrnn.cli.search import search
from mrnn.cli.serve import serve
from mrnn.cli.shard import shard
from mrnn.cli.terminal import say, tell
from mrnn.cli.train import train
from mrnn.cli.train_heads import train_heads
from mrnn.cli.watch import watch
from mrnn.errors import MRNNError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    caption, watch, demo, index, search, serve, shard, embed,
    prepare, check, extract, train, train_heads, export, export_encoder, fine_tune,
    evaluate, score, compare, report, rerank, doctor,
):  # fmt: skip
    app.command()(command)


def _print_version(asked: bool | None) -> None:
    if asked:
        say(f"mrnn {__version__}")
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


def _stop(number: int, _: object) -> NoReturn:
    tell("mrnn: stopped; what was finished is kept")
    sys.exit(128 + number)


def main() -> None:
    """The `mrnn` command."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C: what is half written is removed
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
