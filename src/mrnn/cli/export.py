"""Export a trained model to a folder that runs anywhere."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import EncoderFile, needs_torch


def export(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder")],
    encoder_file: EncoderFile = None,
) -> None:
    """Write a model with its image encoder, checked against PyTorch, for any machine."""
    needs_torch()
    from mrnn.training.bundle import export_bundle

    report = export_bundle(run, out, encoder_file)
    print(
        f"{out}: {report.megabytes:.1f} MB. Largest differences from PyTorch: features "
        f"{report.features:.1e}, log-probabilities {report.log_probabilities:.1e} nats; "
        f"{report.captions} captions equal"
    )
