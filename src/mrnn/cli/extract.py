"""Extract image features."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.check import check_broken_list, write_broken_list
from mrnn.cli.export_encoder import Weights, write_encoder
from mrnn.cli.terminal import (
    DataFolder,
    EncoderFile,
    ModelDevice,
    RunDevice,
    found_device,
    progress,
    say,
    tell,
)
from mrnn.errors import DataError, OptionsError, counted

if TYPE_CHECKING:
    from mrnn.data.dataset import Dataset


def extract(
    data: DataFolder,
    encoder: Annotated[
        str | None,
        typer.Option(help="Image encoder, as vgg16 or timm:NAME [default: the shipped model's]"),
    ] = None,
    resize_mode: Annotated[
        str | None,
        typer.Option(
            help="How a photo becomes a square: crop, squash or pad; with -flip averaged with its "
            "mirror image; ten-crop [default: squash]"
        ),
    ] = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    weights: Weights = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Imported features: .npy, .npz or .mat")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="With --from: the photo of each row, one a line")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --from: their name, of your choice")
    ] = None,
    skip_broken: Annotated[
        bool,
        typer.Option(
            "--skip-broken", help="Take images whose photos are broken out of the dataset"
        ),
    ] = False,
    broken: Annotated[
        Path | None, typer.Option(help="Write the names of these images to a file, one a line")
    ] = None,
) -> None:
    """Compute image features, only those that are missing; or import them.

    All processors work; with OMP_NUM_THREADS=1 before the command, one does.
    """
    from mrnn.data.dataset import Dataset, leave_out
    from mrnn.data.features import extract_features
    from mrnn.model.image_encoder import DEFAULT_ENCODER, DEFAULT_RESIZE_MODE, load_encoder

    dataset = Dataset.load(data)
    if source or ids or name:
        if encoder or resize_mode or encoder_file or weights:
            raise OptionsError(
                "--encoder, --resize-mode, --encoder-file and --weights do not go with --from"
            )
        _import_features(dataset, source, ids, name)
        return
    if broken:
        check_broken_list(broken)
    if encoder_file and weights:
        raise OptionsError("--encoder-file holds the encoder's weights: no --weights beside it")
    if not encoder_file:
        encoder = encoder or DEFAULT_ENCODER
        encoder_file = _exported(dataset, encoder, weights)
    loaded = load_encoder(
        encoder, resize_mode or DEFAULT_RESIZE_MODE, encoder_file, device=found_device(device)
    )
    with progress("Extracting", len(dataset.images)) as advance:
        made = extract_features(dataset, loaded, advance, tell)
    good = len(dataset.images) - len(made.broken)
    say(f"{made.folder}: {good:,} features of {loaded.identity}")
    if made.away:
        away = counted(made.away, "photo is", "photos are")
        tell(f"{away} away; what is known of them stays")
    if broken:
        write_broken_list(broken, made.broken)
    if made.broken and skip_broken:
        leave_out(dataset, made.broken)
        gone = counted(len(made.broken), "image is", "images are")
        tell(
            f"{gone} no more in {data}, which has {good:,} now; once they are mended, mrnn "
            "prepare takes them in again"
        )
    elif made.broken:
        raise DataError(
            f"{len(made.broken):,} of {len(dataset.images):,} photos have no feature; mend them, "
            "or leave them out by --skip-broken. --broken FILE lists them"
        )


def _exported(dataset: "Dataset", name: str, weights: Path | None) -> Path | None:
    """The file of an encoder that does not ship, in the folder of a dataset's features.

    It is exported on first use, or again for other weights. None for an encoder that ships, and for
    several.
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
        write_encoder(name, file, weights)
        tell(f"To caption photos, models of these features need: --encoder-file {file}")
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
    say(f"{file}: {len(dataset.images):,} features of {encoder}")
