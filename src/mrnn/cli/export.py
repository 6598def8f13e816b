"""Export a trained model as a bundle, or as a page that captions in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import EncoderFile, needs_torch, say, tell
from mrnn.errors import OptionsError


def export(
    run: Annotated[
        Path | None,
        typer.Argument(help="A trained model's folder [default: the model that ships]"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The bundle to write: a new folder")] = None,
    web: Annotated[
        Path | None,
        typer.Option(help="The page to write: a new folder for any static server"),
    ] = None,
    ort: Annotated[
        Path | None,
        typer.Option(
            help="With --web: npm's package onnxruntime-web, its file or folder [default: fetched]"
        ),
    ] = None,
    encoder_file: EncoderFile = None,
) -> None:
    """Write a model and its image encoder to one folder, for any machine or for the browser."""
    if (out is None) == (web is None):
        raise OptionsError("Give --out BUNDLE, for other machines, or --web OUT, for the browser")
    if web is not None:
        _export_web(run, web, ort, encoder_file)
    elif ort is not None:
        raise OptionsError("--ort goes with --web; leave it out")
    else:
        assert out is not None
        _export_bundle(run, out, encoder_file)


def _export_bundle(run: Path | None, out: Path, encoder_file: Path | None) -> None:
    needs_torch("Exporting")
    from mrnn.model.checkpoint import DEFAULT_MODEL
    from mrnn.training.bundle import export_bundle

    report = export_bundle(run or DEFAULT_MODEL, out, encoder_file)
    features = "" if report.features is None else f"features {report.features:.1e}, "
    say(
        f"{out}: {report.megabytes:.1f} MB. Largest differences from PyTorch: {features}"
        f"log-probabilities {report.log_probabilities:.1e} nats; all {report.captions} captions "
        "agree"
    )
    tell(f"Next: mrnn caption PHOTO --model {out}")


def _export_web(run: Path | None, web: Path, ort: Path | None, encoder_file: Path | None) -> None:
    from mrnn import __version__
    from mrnn.model.checkpoint import DEFAULT_MODEL
    from mrnn.outputs import check_new_folder
    from mrnn.server.onnxruntime_web import read_runtime
    from mrnn.server.static_site import export_site

    check_new_folder("--web", web)  # before anything is fetched
    runtime = read_runtime(ort, tell)
    report = export_site(run or DEFAULT_MODEL, web, runtime, __version__, encoder_file)
    say(f"{web}: {report.page + report.model:.1f} MB, {report.model:.1f} of them the model")
    tell(f"Next: python -m http.server --bind 127.0.0.1 --directory {web}, or any static host")
