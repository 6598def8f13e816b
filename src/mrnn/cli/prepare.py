"""Make a dataset folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.cli.terminal import say, tell
from mrnn.errors import OptionsError, counted

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
            help="The file; for flickr, iapr and folder: the folder; for coco and table: one file "
            "or several; for datasets: dataset folders, to be joined",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The dataset folder to write")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the image files [required but for datasets]; photos that a .parquet "
            "table holds are written there"
        ),
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
    leave_out_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="A list of images to leave out, one a line, as mrnn check --broken writes"
        ),
    ] = None,
    suffix: Annotated[
        str | None,
        typer.Option(
            help="folder: what the names of captions files end with: a.txt or a.jpg.txt beside "
            "a.jpg [default: .txt]"
        ),
    ] = None,
    sentences: Annotated[
        Sentences | None,
        typer.Option(help="iapr: each sentence a caption, or all one [default: split]"),
    ] = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            help="table: column of the image files [default: image, file_name or the like]"
        ),
    ] = None,
    caption_column: Annotated[
        str | None,
        typer.Option(help="table: column of the captions [default: caption, text or the like]"),
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="table: column of the splits [default: split, if there]")
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="table: what divides the cells of a text file: , ; | or tab [default: as the "
            "header shows]"
        ),
    ] = None,
) -> None:
    """Make a dataset folder from a source; the images stay where they are."""
    from mrnn.data.dataset import Dataset, write_dataset
    from mrnn.data.splits import divide

    options = {
        "sentences": sentences and sentences.value,
        "suffix": _suffix(suffix),
        "image_column": image_column,
        "caption_column": caption_column,
        "split_column": split_column,
        "delimiter": _delimiter(delimiter),
    }
    given = {name: value for name, value in options.items() if value is not None}
    notes: list[str] = []
    every = tuple(_read_source(kind, sources, images, given, notes))
    if not every:
        raise OptionsError(f"{sources[0]}: no captioned images, so there is no dataset to write")
    divided, more = divide(
        every,
        lists=split_list or (),
        fractions=fractions,
        seed=seed,
        leave_out=leave_out or (),
        leave_out_files=leave_out_file or (),
    )
    missing = _missing(divided)
    write_dataset(divided, out, source=kind.value, images_root=images)
    for note in (*notes, *more, *missing):
        tell(note)
    dataset = Dataset.load(out)
    for split in dataset.splits:
        found = dataset.split(split)
        captions = sum(len(image.captions) for image in found)
        say(f"{split}: {counted(len(found), 'image')}, {counted(captions, 'caption')}")
    tell(f"Wrote {out}. Next: mrnn check {out}")


def _missing(images: Sequence["CaptionedImage"]) -> list[str]:
    """A note on photos that are not there. Raises OptionsError if none is."""
    missing = [image.path for image in images if not os.path.exists(image.path)]
    if not missing:
        return []
    if len(missing) == len(images):
        raise OptionsError(
            f"none of the {len(images):,} photos is there; looked for {missing[0]}; check --images"
        )
    return [f"{len(missing):,} of {len(images):,} photos are missing, the first: {missing[0]}"]


def _suffix(suffix: str | None) -> str | None:
    if suffix is not None and (suffix[:1] != "." or {"/", os.sep, "\0"} & {*suffix}):
        raise OptionsError(f"--suffix {suffix!r}: expected one like .txt or .caption")
    return suffix


def _delimiter(delimiter: str | None) -> str | None:
    sign = {"tab": "\t", "\\t": "\t"}.get((delimiter or "").lower(), delimiter)
    if sign is not None and (len(sign) != 1 or sign in '"\r\n\0'):
        raise OptionsError(f"--delimiter {sign!r}: expected one character, or tab")
    return sign


TAKERS = {"sentences": Source.iapr, "suffix": Source.folder}
"""The formats that take these options; the others belong to tables."""


def _read_source(
    kind: Source,
    sources: list[Path],
    images: Path | None,
    options: dict[str, Any],
    notes: list[str],
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
    unpacked = any(source.suffix.lower() == ".parquet" for source in sources)
    if not (images.is_dir() or (unpacked and not images.exists())):
        raise OptionsError(f"{images}: no such folder of images; check --images")
    match kind:
        case Source.coco:
            return read_coco(sources, images)
        case Source.table:
            return read_table(sources, images, **options, notes=notes)
        case Source.folder:
            return read_folder(sources[0], images, **options, notes=notes)
        case Source.iapr:
            return read_iapr(sources[0], images, **options)
        case Source.karpathy:
            return read_karpathy(sources[0], images)
    return read_flickr(sources[0], images)


def _refuse_what_does_not_fit(
    kind: Source, sources: Sequence[Path], options: Mapping[str, Any]
) -> None:
    for name in options:
        taker = TAKERS.get(name, Source.table)
        if kind is not taker:
            option = name.replace("_", "-")
            raise OptionsError(f"prepare {kind} does not take --{option}; prepare {taker} does")
    if len(sources) > 1 and kind not in (Source.coco, Source.table, Source.datasets):
        raise OptionsError(
            f"prepare {kind} takes one SOURCE, not {len(sources)}; coco, table and datasets take "
            "several"
        )
