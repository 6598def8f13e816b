"""Extract image features."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import DataFolder, needs_torch, progress, tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.data.dataset import Dataset


def extract(
    data: DataFolder,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Image encoder, as vgg16 or timm:NAME [default: that of --encoder-file, or of the "
            "shipped model]"
        ),
    ] = None,
    resize_mode: Annotated[
        str | None,
        typer.Option(
            help="How a photo becomes a square: crop, squash or pad; with -flip averaged with its "
            "mirror image; ten-crop [default: squash]"
        ),
    ] = None,
    encoder_file: Annotated[
        Path | None, typer.Option(help="The encoder's ONNX file [default: made in DATA/encoders]")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Features made elsewhere: .npy, .npz or .mat")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="With --from: the photo of each row, one a line")
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --from: what to call them")] = None,
) -> None:
    """Compute image features, only those that are missing; or import them."""
    from mrnn.data.dataset import Dataset
    from mrnn.data.features import extract_features
    from mrnn.model.image_encoder import DEFAULT_ENCODER, DEFAULT_RESIZE_MODE, load_encoder

    dataset = Dataset.load(data)
    if source or ids or name:
        if encoder or resize_mode or encoder_file:
            raise OptionsError("--encoder, --resize-mode and --encoder-file do not go with --from")
        _import_features(dataset, source, ids, name)
        return
    if not encoder_file:
        encoder = encoder or DEFAULT_ENCODER
        encoder_file = _exported(encoder, data)
    loaded = load_encoder(encoder, resize_mode or DEFAULT_RESIZE_MODE, encoder_file)
    with progress("Extracting", len(dataset.images)) as advance:
        folder = extract_features(dataset, loaded, advance)
    print(f"{folder}: {len(dataset.images):,} features of {loaded.identity}")


def _exported(encoder: str, data: Path) -> Path | None:
    """The file of an encoder that does not ship, made on first use; None for one that ships."""
    from mrnn.model.image_encoder import JOINT, is_encoder, is_shipped

    if JOINT in encoder or is_shipped(encoder) or not is_encoder(encoder):
        return None
    file = data / "encoders" / f"{encoder.replace(':', '-')}.onnx"
    if not file.exists():
        needs_torch()
        from mrnn.training.encoders.export import export_encoder

        tell(f"Exporting {encoder} to {file}, once; other commands take it by --encoder-file")
        export_encoder(encoder, file)
    return file


def _import_features(
    dataset: "Dataset", source: Path | None, ids: Path | None, name: str | None
) -> None:
    from mrnn.data.imported_features import import_features

    if not (source and ids and name):
        raise OptionsError("--from FEATURES, --ids IDS.txt and --name NAME go together; give all")
    file, encoder, note = import_features(dataset, source, ids, name)
    if note:
        tell(note)
    print(f"{file}: {len(dataset.images):,} features of {encoder}")
