"""Make the file of an image encoder."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import check_output, needs_torch


def export_encoder(
    name: Annotated[str, typer.Argument(help="A network of torchvision, as vgg16, or timm:NAME")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Its weights, .pth or .safetensors [default: the library's own]"),
    ] = None,
) -> None:
    """Export a network as an image encoder, and compare it with PyTorch."""
    needs_torch()
    from mrnn.training.encoders.export import export_encoder as export

    check_output("--out", out)
    encoder = export(name, out, weights)
    identity = encoder.identity
    print(
        f"{out}: {identity.name}, {identity.layer}, {identity.feature_size:,} values "
        f"({out.stat().st_size / 1e6:.1f} MB). Next: mrnn extract DATA --encoder {name} "
        f"--encoder-file {out}"
    )
