"""Export a trained model as a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import EncoderFile, needs_torch, say, tell


def export(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder")],
    encoder_file: EncoderFile = None,
) -> None:
    """Write a model and its image encoder to one folder for any machine."""
    needs_torch("Exporting")
    from mrnn.training.bundle import export_bundle

    report = export_bundle(run, out, encoder_file)
    features = "" if report.features is None else f"features {report.features:.1e}, "
    say(
        f"{out}: {report.megabytes:.1f} MB. Largest differences from PyTorch: {features}"
        f"log-probabilities {report.log_probabilities:.1e} nats; all {report.captions} captions "
        "agree"
    )
    tell(f"Next: mrnn caption PHOTO --model {out}")
