"""Make a dataset folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.cli.terminal import tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.data.dataset import CaptionedImage


class Source(StrEnum):
    """What `mrnn prepare` can read."""

    flickr = "flickr"
    karpathy = "karpathy"
    coco = "coco"
    iapr = "iapr"
    table = "table"
    folder = "folder"
    datasets = "datasets"


class Sentences(Enum):
    """How the sentences of one description become captions."""

    split = "split"
    joined = "joined"


def prepare(
    kind: Annotated[Source, typer.Argument(help="Format of the source")],
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="The file; for flickr, iapr and folder: the folder; for coco: one file or "
            "several; for datasets: dataset folders, to be joined",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The dataset folder to write")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the image files [required but for datasets]")
    ] = None,
    split_list: Annotated[
        list[str] | None,
        typer.Option(metavar="SPLIT=FILE", help="A split's images, one a line: dev=dev.txt"),
    ] = None,
    fractions: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="TRAIN DEV TEST",
            help="Split at random [default, if the source has no splits: 0.8 0.1 0.1]",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the random split [default: 0]")] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An image to leave out")
    ] = None,
    sentences: Annotated[
        Sentences | None,
        typer.Option(help="iapr: each sentence a caption, or all one [default: split]"),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="table: column of the image files [default: image]")
    ] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="table: column of the captions [default: caption]")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="table: column of the splits [default: split, if there]")
    ] = None,
) -> None:
    """Make a dataset folder from a source; the images stay where they are."""
    from mrnn.data.dataset import Dataset, write_dataset
    from mrnn.data.splits import divide

    options = {
        "sentences": sentences and sentences.value,
        "image_column": image_column,
        "caption_column": caption_column,
        "split_column": split_column,
    }
    given = {name: value for name, value in options.items() if value is not None}
    every = tuple(_read_source(kind, sources, images, given))
    if not every:
        raise OptionsError(f"{sources[0]}: no captioned images, so there is no dataset to write")
    divided, notes = divide(
        every, lists=split_list or (), fractions=fractions, seed=seed, leave_out=leave_out or ()
    )
    write_dataset(divided, out, source=kind.value, images_root=images)
    for note in notes:
        tell(note)
    dataset = Dataset.load(out)
    for split in dataset.splits:
        found = dataset.split(split)
        captions = sum(len(image.captions) for image in found)
        print(f"{split}: {len(found):,} images, {captions:,} captions")
    tell(f"Wrote {out}. Next: mrnn check {out}")


def _read_source(
    kind: Source, sources: list[Path], images: Path | None, options: dict[str, Any]
) -> Iterator["CaptionedImage"]:
    from mrnn.data.readers.coco import read_coco
    from mrnn.data.readers.datasets import read_datasets
    from mrnn.data.readers.flickr import read_flickr
    from mrnn.data.readers.folder import read_folder
    from mrnn.data.readers.iapr import read_iapr
    from mrnn.data.readers.karpathy import read_karpathy
    from mrnn.data.readers.table import read_table

    _refuse_what_does_not_fit(kind, sources, options)
    if kind is Source.datasets:
        if images:
            raise OptionsError("prepare datasets takes no --images: each dataset knows its own")
        return read_datasets(sources)
    if not images:
        raise OptionsError(f"prepare {kind} needs --images FOLDER, where the photos are")
    if not images.is_dir():
        raise OptionsError(f"{images}: no such folder of images; check --images")
    if kind is Source.coco:
        return read_coco(sources, images)
    read: Callable[..., Iterator[CaptionedImage]] = {
        Source.flickr: read_flickr,
        Source.karpathy: read_karpathy,
        Source.iapr: read_iapr,
        Source.table: read_table,
        Source.folder: read_folder,
    }[kind]
    return read(sources[0], images, **options)


def _refuse_what_does_not_fit(
    kind: Source, sources: Sequence[Path], options: Mapping[str, Any]
) -> None:
    for name in options:
        taker = Source.iapr if name == "sentences" else Source.table
        if kind is not taker:
            option = name.replace("_", "-")
            raise OptionsError(f"prepare {kind} does not take --{option}; prepare {taker} does")
    if len(sources) > 1 and kind not in (Source.coco, Source.datasets):
        raise OptionsError(
            f"prepare {kind} takes one SOURCE, not {len(sources)}; coco and datasets take several"
        )
