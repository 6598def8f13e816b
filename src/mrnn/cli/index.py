"""Index photos or sentences."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.photo_arguments import Exclude, named_paths
from mrnn.cli.terminal import (
    EncoderFile,
    ModelDevice,
    ModelFolder,
    RunDevice,
    found_device,
    progress,
    say,
    tell,
)
from mrnn.errors import DataError, OptionsError

if TYPE_CHECKING:
    from mrnn.retrieval.index import IndexChanges, IndexConfig, RetrievalModel


def index(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Photos, folders of them, or globs; - reads a list of them from stdin [default: "
            "the folders and globs of the index]",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The index folder", readable=False)],
    sentences: Annotated[
        Path | None, typer.Option(help="Index the lines of this file instead of photos")
    ] = None,
    exclude: Exclude = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Forget what is away or left out; without it, it stays"),
    ] = False,
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
) -> None:
    """Make an index, or add to one: only new and changed photos are encoded.

    It remembers its folders, globs and patterns, and brings them up to date where none are given.

    All processors work; with OMP_NUM_THREADS=1 before the command, one does.
    """
    from mrnn.data.feature_store.store import CONFIG
    from mrnn.retrieval.index import RetrievalModel, read_index_config
    from mrnn.retrieval.search import model_of

    if photos and sentences:
        raise OptionsError("Give photos to index, or a file to --sentences, not both")
    before = read_index_config(out) if (out / CONFIG).exists() else None
    if not (photos or sentences or before):
        raise OptionsError("Give photos to index, or a file to --sentences")
    loaded = RetrievalModel.load(model_of(out, model), encoder_file, found_device(device))
    if sentences or (before and before.holds == "sentences" and not photos):
        if exclude:
            raise OptionsError("--exclude goes with photos; leave it out with sentences")
        _index_sentences(sentences, before, out, loaded, prune=prune)
    else:
        if before and not exclude:
            exclude = list(before.exclude)
        _index_photos(photos, exclude or (), before, out, loaded, prune=prune)


def _index_photos(
    photos: Sequence[str] | None,
    exclude: Sequence[str],
    before: "IndexConfig | None",
    out: Path,
    model: "RetrievalModel",
    *,
    prune: bool,
) -> None:
    from mrnn.data.photo_paths import find_images
    from mrnn.retrieval.index_writer import Scope, index_photos

    named: list[str | Path] = named_paths(photos) if photos else list(_remembered(before))
    scope = Scope(list(_roots(photos or ())), exclude, everything=not photos, prune=prune)
    problems: dict[str, list[str]] = {"places": [], "photos": []}

    def refuse(kind: str, problem: str) -> None:
        problems[kind].append(problem)
        tell(problem)

    count = 0
    with progress("Looking for photos") as advance:
        for _ in find_images(named, exclude=exclude, on_problem=lambda _: None):
            count += 1
            advance()
    found = find_images(  # again, and not a list: of a million photos it fills the memory
        named, exclude=exclude, on_problem=lambda problem: refuse("places", problem)
    )
    with progress("Indexing", count) as advance:
        changes = index_photos(
            found, out, model, advance, lambda problem: refuse("photos", problem), scope
        )
    _report(out, "photos", changes)
    if failed := len(problems["photos"]):
        tell(f"{failed:,} of {count:,} photos could not be indexed")
    if places := len(problems["places"]):
        tell(f"{places:,} of the folders and globs had no photos or could not be searched")
    if failed or places:
        raise typer.Exit(1)


def _index_sentences(
    file: Path | None,
    before: "IndexConfig | None",
    out: Path,
    model: "RetrievalModel",
    *,
    prune: bool,
) -> None:
    from mrnn.files import read_lines
    from mrnn.retrieval.index_writer import Scope, index_sentences

    given = [os.path.abspath(file)] if file else []
    files = dict.fromkeys([*_remembered(before), *given])
    sentences, failed = list[str](), 0
    for each in files:
        try:
            sentences += [line.strip() for _, line in read_lines(Path(each))]
        except DataError as error:
            if each in given:
                raise
            failed += 1
            tell(f"{error}; its sentences stay" if not prune else error)
    scope = Scope([file] if file else (), prune=prune)
    unread = failed

    def refuse(problem: str) -> None:
        nonlocal failed
        failed += 1
        tell(problem)

    with progress("Indexing", len(sentences)) as advance:
        changes = index_sentences(sentences, out, model, advance, refuse, scope)
    _report(out, "sentences", changes)
    if failed > unread:
        tell(f"{failed - unread:,} of {len(sentences):,} sentences could not be indexed")
    if failed:
        raise typer.Exit(1)


def _remembered(before: "IndexConfig | None") -> Iterator[str]:
    """The roots of an index; of those that are away it is told."""
    from mrnn.data.photo_names import name_from_text
    from mrnn.retrieval.index_writer import is_root

    for root in map(name_from_text, before.roots if before else ()):
        if is_root(root):
            yield root
        elif before:
            tell(f"{root}: not there now; its {before.holds} stay, unless you give --prune")


def _roots(photos: Iterable[str]) -> Iterator[str]:
    """Those that an index remembers: folders, and globs from the working folder."""
    for path in photos:
        if os.path.isdir(path):
            yield path
        elif not os.path.lexists(path) and any(mark in path for mark in "*?["):
            yield path if os.path.isabs(path) else os.path.join(glob.escape(os.getcwd()), path)


def _report(out: Path, kind: str, changes: "IndexChanges") -> None:
    from mrnn.retrieval.index import open_index

    rows = len(open_index(out))
    told = f"{out}: {rows:,} {kind}"
    if changes.new < rows or changes.forgotten:
        told += (
            f" ({changes.new:,} new, {changes.changed:,} changed, {changes.forgotten:,} forgotten)"
        )
    say(told)
    if changes.away == 1:
        where = "is away" if kind == "photos" else "is in no file"
        tell(f"1 {kind[:-1]} {where} and stays in the index; --prune forgets it")
    elif changes.away:
        where = "are away" if kind == "photos" else "are in no file"
        tell(f"{changes.away:,} {kind} {where} and stay in the index; --prune forgets them")
