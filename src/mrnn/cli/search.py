"""Search an index."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import (
    EncoderFile,
    Json,
    ModelDevice,
    ModelFolder,
    Overwrite,
    RunDevice,
    found_device,
    print_json,
    progress,
    say,
    tell,
)
from mrnn.errors import OptionsError
from mrnn.outputs import check_output, is_page, write_whole

if TYPE_CHECKING:
    from mrnn.retrieval.index.index import RetrievalModel


def search(
    folder: Annotated[
        Path, typer.Argument(metavar="INDEX", help="An index folder", readable=False)
    ],
    query: Annotated[str, typer.Argument(help="A sentence, or the path of a photo")],
    top: Annotated[int, typer.Option(min=1, help="How many finds")] = 10,
    paths: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only photos whose path is like '*/2024/*'"),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            help="Only finds with this score or a better one: for photos like a photo a cosine, -1 "
            "to 1; else nats, as log-probabilities are, which compare finds of one query"
        ),
    ] = None,
    effort: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="How many of the vectors to look at in a large index of --engine lance; 100 is "
            "exact, as other indexes always are [default: for 95 % of the finds or more]",
        ),
    ] = None,
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    as_json: Json = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page of thumbnails with captions")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find photos for a sentence, sentences for a photo, or photos like a photo."""
    from mrnn.data.images import SUFFIXES, UNREAD
    from mrnn.retrieval.results import note_of_away
    from mrnn.retrieval.search import PhotoIndex

    photo = os.path.isfile(query)
    if not photo and query.lower().endswith((*SUFFIXES, *UNREAD)):
        raise OptionsError(f"{query}: no such file; give a photo that is there, or a sentence")
    if html:
        check_output("--html", html, ours=is_page, inputs=[Path(query)], overwrite=overwrite)
    opened = PhotoIndex.load(folder, model, encoder_file=encoder_file, device=found_device(device))
    prepared = opened.prepare(Path(query) if photo else query)
    for note in prepared.notes:
        tell(note)
    away: list[str] = []
    results = opened.search(
        prepared, top, paths=paths, min_score=min_score, effort=effort, on_away=away.append
    )
    if away:
        tell(note_of_away(away, results))
    if min_score is not None and not results:
        best = opened.search(prepared, 1, paths=paths, effort=effort)
        known = f"; the best has {best[0].score:.2f}" if best else ""
        tell(f"No find has a score of {min_score:g}{known}")
    if html:
        from mrnn.retrieval.search_page import search_page

        found = [result.path for result in results if result.path]
        write_whole(html, search_page(query, results, _captions(opened.model, found)))
        tell(f"Wrote {html}")
    for result in results:
        if as_json:
            print_json(json.dumps(result.model_dump(exclude_none=True)))
        elif not html:
            say(f"{result.score:8.2f}  {result.path or result.sentence}")


def _captions(model: "RetrievalModel", paths: list[str]) -> dict[str, str]:
    """The first caption of each photo that can be read."""
    from mrnn.captioning.captioner import Captioner

    if not paths:
        return {}
    captioner = Captioner(model.checkpoint, model.encoder)
    with progress("Captioning", len(paths)) as advance:
        found = list(captioner.stream(map(Path, paths), on_photo=lambda: advance(1)))
    return {
        path: result.captions[0].text
        for path, result in zip(paths, found, strict=True)
        if result.captions
    }
