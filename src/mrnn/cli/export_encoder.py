"""Make the file of an image encoder."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import Overwrite, tell
from mrnn.errors import MissingExtraError
from mrnn.outputs import check_output

Weights = Annotated[
    Path | None,
    typer.Option(help="Weights of the encoder: .pth or .safetensors [default: its library's]"),
]


def export_encoder(
    name: Annotated[str, typer.Argument(help="Image encoder: vgg16, resnet50@320, timm:NAME")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    weights: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write an image encoder of torchvision or timm to an ONNX file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    check_output("--out", out, inputs=[weights] if weights else [], overwrite=overwrite)
    write_encoder(name, out, weights)
    tell(f"Next: mrnn extract DATA --encoder {name} --encoder-file {out}")


def write_encoder(name: str, file: Path, weights: Path | None) -> None:
    """Export an encoder and report it. Raises MissingExtraError without the extra."""
    from rich.filesize import decimal

    try:
        from mrnn.training.encoders.export import export_encoder as export
    except ImportError:
        raise MissingExtraError(
            f"Exporting {name} needs PyTorch. Run: pip install 'mrnn[vision]'"
        ) from None
    tell(f"Exporting {name}")
    identity = export(name, file, weights).identity
    tell(
        f"Wrote {file}: {identity.name} ({identity.layer}, {identity.size} px), "
        f"{identity.feature_size:,} values a photo, {decimal(file.stat().st_size)}"
    )
