"""Index photos or sentences."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mrnn.cli.photo_arguments import Exclude, named_paths
from mrnn.cli.terminal import (
    EncoderFile,
    ModelDevice,
    ModelFolder,
    Overwrite,
    RunDevice,
    found_device,
    is_url,
    progress,
    say,
    tell,
)
from mrnn.errors import DataError, OptionsError
from mrnn.outputs import check_output

if TYPE_CHECKING:
    from mrnn.retrieval.index.config import IndexConfig
    from mrnn.retrieval.index.folder import Scope
    from mrnn.retrieval.index.index import IndexChanges, RetrievalModel


Engine = Literal["numpy", "lance"]


@dataclass(frozen=True)
class _Updated:
    """The index that is made or updated."""

    out: Path
    before: "IndexConfig | None"
    model: "RetrievalModel"
    engine: Engine | None
    prune: bool

    def scope(self, roots: Sequence[str] = (), **options: Any) -> "Scope":  # noqa: ANN401
        from mrnn.retrieval.index.folder import Scope

        return Scope(roots, prune=self.prune, engine=self.engine, **options)


def index(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Photos, folders of them, or globs; - reads a list of them from stdin [default: "
            "the folders and globs of the index]; with --export, an index",
        ),
    ] = None,
    *,
    out: Annotated[Path | None, typer.Option(help="The index folder", readable=False)] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="Index the lines of this file instead of photos")
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Index vectors by mrnn embed, a folder or a Parquet file, instead"
        ),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="numpy compares a query with all vectors, lance with the likely ones, for more "
            "photos than memory holds [default: that of the index, or numpy]"
        ),
    ] = None,
    exclude: Exclude = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Forget what is away or left out; without it, it stays"),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write names and vectors of an index as Parquet, and no more"
        ),
    ] = None,
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    overwrite: Overwrite = False,
) -> None:
    """Make an index, or add to one: only new and changed photos are encoded.

    It remembers its folders, globs and patterns, and brings them up to date where none are given.

    All processors work; with OMP_NUM_THREADS=1 before the command, one does.
    """
    from mrnn.data.feature_store.store import CONFIG
    from mrnn.retrieval.index.config import read_index_config
    from mrnn.retrieval.index.index import RetrievalModel
    from mrnn.retrieval.search import model_of

    given = {"photos": photos, "--sentences": sentences, "--from": vectors}
    named = [name for name, value in given.items() if value]
    if export:
        if out or engine or named != ["photos"] or len(photos or ()) != 1:
            raise OptionsError(
                f"--export {export!s:.80} takes an index and nothing else, as in: mrnn index "
                "photos.index --export photos.parquet"
            )
        _export(Path(photos[0] if photos else ""), export, overwrite=overwrite)
        return
    if out is None:
        raise OptionsError("Give --out, the index folder")
    if is_url(out):
        raise OptionsError(f"--out {out!s:.80}: an index is a folder of this machine; name one")
    if len(named) > 1:
        raise OptionsError(f"Give {' or '.join(named)} to index, not both")
    before = read_index_config(out) if (out / CONFIG).exists() else None
    if not (named or before):
        raise OptionsError("Give photos to index, a file to --sentences, or vectors to --from")
    if exclude and (sentences or vectors or (before and before.holds == "sentences")):
        raise OptionsError("--exclude goes with photos; leave it out with sentences and --from")
    loaded = RetrievalModel.load(model_of(out, model), encoder_file, found_device(device))
    updated = _Updated(out, before, loaded, engine, prune)
    if vectors:
        _index_vectors(vectors, updated)
    elif sentences or (before and before.holds == "sentences" and not photos):
        _index_sentences(sentences, updated)
    else:
        _index_photos(photos, exclude or list(before.exclude if before else ()), updated)


def _index_photos(photos: Sequence[str] | None, exclude: Sequence[str], updated: _Updated) -> None:
    from mrnn.data.photos.paths import find_images
    from mrnn.retrieval.index.writer import index_photos

    named: list[str | Path] = named_paths(photos) if photos else list(_remembered(updated.before))
    scope = updated.scope(list(_roots(photos or ())), exclude=exclude, everything=not photos)
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
            found, updated.out, updated.model, advance, partial(refuse, "photos"), scope
        )
    _report(updated.out, "photos", changes)
    if failed := len(problems["photos"]):
        tell(f"{failed:,} of {count:,} photos could not be indexed")
    if places := len(problems["places"]):
        tell(f"{places:,} of the folders and globs had no photos or could not be searched")
    if failed or places:
        raise typer.Exit(1)


def _index_vectors(source: Path, updated: _Updated) -> None:
    from mrnn.retrieval.index.vector_files import VectorFiles
    from mrnn.retrieval.index.vectors import index_vectors

    files, failed = VectorFiles.find(source, updated.model), 0

    def refuse(problem: str) -> None:
        nonlocal failed
        failed += 1
        tell(problem)

    with progress("Indexing", files.rows) as advance:
        changes = index_vectors(files, updated.out, updated.model, advance, refuse, updated.scope())
    _report(updated.out, "photos", changes)
    if failed:
        tell(f"{failed:,} of {files.rows:,} rows have no vectors or come twice")
        raise typer.Exit(1)


def _export(folder: Path, file: Path, *, overwrite: bool) -> None:
    from mrnn.data.shards.shard import needs_pyarrow
    from mrnn.retrieval.index.index import open_index

    needs_pyarrow()
    from mrnn.retrieval.index.vector_files import export_vectors

    opened = open_index(folder)
    check_output("--export", file, overwrite=overwrite)
    with progress("Exporting", len(opened)) as advance:
        export_vectors(opened, file, advance)
    say(f"{file}: {len(opened):,} {opened.config.holds}")


def _index_sentences(file: Path | None, updated: _Updated) -> None:
    from mrnn.files import read_lines
    from mrnn.retrieval.index.writer import index_sentences

    given = [os.path.abspath(file)] if file else []
    files = dict.fromkeys([*_remembered(updated.before), *given])
    sentences, failed = list[str](), 0
    for each in files:
        try:
            sentences += [line.strip() for _, line in read_lines(Path(each))]
        except DataError as error:
            if each in given:
                raise
            failed += 1
            tell(f"{error}; its sentences stay" if not updated.prune else error)
    scope = updated.scope([str(file)] if file else ())
    unread = failed

    def refuse(problem: str) -> None:
        nonlocal failed
        failed += 1
        tell(problem)

    with progress("Indexing", len(sentences)) as advance:
        changes = index_sentences(sentences, updated.out, updated.model, advance, refuse, scope)
    _report(updated.out, "sentences", changes)
    if failed > unread:
        tell(f"{failed - unread:,} of {len(sentences):,} sentences could not be indexed")
    if failed:
        raise typer.Exit(1)


def _remembered(before: "IndexConfig | None") -> Iterator[str]:
    """The roots of an index; of those that are away it is told."""
    from mrnn.data.photos.names import name_from_text
    from mrnn.retrieval.index.folder import is_root

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
    from mrnn.retrieval.index.index import open_index

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
