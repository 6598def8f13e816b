"""An image encoder as an ONNX file: export-encoder."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.data.dataset import Dataset

EncoderWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="Weights of the encoder: .pth or .safetensors [default: its library's]"
    ),
]


def export_encoder(
    name: Annotated[str, typer.Argument(help="Image encoder: vgg16, resnet50@320, timm:NAME")],
    out: Annotated[Path, typer.Option(help="The ONNX file to write")],
    weights: EncoderWeights = None,
) -> None:
    """Write an image encoder of torchvision or timm to an ONNX file, for --encoder-file."""
    _export(name, out, weights)
    tell(f"Next: mrnn extract DATA --encoder {name} --encoder-file {out}")


def exported_into(dataset: "Dataset", name: str, weights: Path | None) -> Path | None:
    """The file of an encoder that the package does not ship, in the folder of a dataset's features.

    It is made if it is not there yet, or if there are weights to make it of. None for an encoder
    that ships, and for several.
    """
    from mrnn.model.image_encoder import AT, JOINT, is_encoder, shipped_encoders

    ships = name.partition(AT)[0] in shipped_encoders()
    if weights and (ships or JOINT in name):
        raise OptionsError(
            f"--weights are of one encoder that the package does not ship, not {name}"
        )
    if ships or JOINT in name or not is_encoder(name):
        return None
    file = dataset.features_folder / (re.sub(r"[^\w.-]", "-", name) + ".onnx")
    if weights or not file.exists():
        _export(name, file, weights)
        tell(f"What is trained on its features captions photos with: --encoder-file {file}")
    return file


def _export(name: str, file: Path, weights: Path | None) -> None:
    try:
        from mrnn.training.encoders.export import export_encoder
    except ImportError:
        raise OptionsError(f"To export {name} needs: pip install 'mrnn[vision]'") from None
    tell(f"Exporting {name}")
    identity = export_encoder(name, file, weights).identity
    tell(
        f"Wrote {file}: {identity.name} ({identity.layer}, {identity.size} px), "
        f"{identity.feature_size:,} values a photo, {file.stat().st_size / 1e6:,.1f} MB"
    )
