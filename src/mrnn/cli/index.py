"""Index photos or sentences."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import EncoderFile, ModelFolder, progress, tell
from mrnn.errors import OptionsError

if TYPE_CHECKING:
    from mrnn.retrieval.search import PhotoIndex


def index(
    photos: Annotated[
        list[str] | None, typer.Argument(metavar="PHOTO", help="Photos, folders of them, or globs")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The index folder", readable=False)],
    sentences: Annotated[
        Path | None, typer.Option(help="Index the lines of this file instead of photos")
    ] = None,
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
) -> None:
    """Make or update an index: only new and changed photos are encoded."""
    from mrnn.data.photo_paths import find_images
    from mrnn.files import read_lines
    from mrnn.model.checkpoint import DEFAULT_MODEL
    from mrnn.retrieval.search import PhotoIndex

    if bool(photos) == bool(sentences):
        raise OptionsError("Give photos to index, or a file to --sentences")
    run = model or DEFAULT_MODEL
    found: Iterable[str | Path]
    if sentences:
        found = [line.strip() for _, line in read_lines(sentences)]
        count = len(found)
    else:
        for path in photos or ():
            if not (os.path.lexists(path) or any(mark in path for mark in "*?[")):
                raise OptionsError(f"{path}: no such file or folder; nothing was changed")
        count = sum(1 for _ in find_images(photos or ()))
        found = find_images(photos or ())  # not a list: of a million photos it fills the memory
    kind = "sentences" if sentences else "photos"
    problems = []

    def refuse(problem: str) -> None:
        problems.append(problem)
        tell(problem)

    with progress("Indexing", count) as advance:
        if sentences:
            made = PhotoIndex.build_sentences(
                map(str, found), out, run,
                encoder_file=encoder_file, on_sentence=advance, on_problem=refuse,
            )  # fmt: skip
        else:
            made = PhotoIndex.build(
                found, out, run,
                encoder_file=encoder_file, on_photo=advance, on_problem=refuse,
            )  # fmt: skip
    print(f"{out}: {len(made):,} {kind}{_changes(made)}")
    if problems:
        tell(f"{len(problems):,} of {count:,} {kind} could not be indexed")
        raise typer.Exit(1)


def _changes(index: "PhotoIndex") -> str:
    """The changes of an index that existed before."""
    changes = index.changes
    if changes is None or (changes.new == len(index) and not changes.forgotten):
        return ""
    counts = vars(changes).items()
    return f" ({', '.join(f'{count:,} {what}' for what, count in counts)})"
