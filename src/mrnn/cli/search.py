"""Search an index."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.terminal import EncoderFile, Json, ModelFolder, Overwrite, print_json, say, tell
from mrnn.errors import OptionsError
from mrnn.outputs import check_output, is_page, write_whole


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
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write a page of thumbnails")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find photos for a sentence, sentences for a photo, or photos like a photo."""
    from mrnn.data.images import SUFFIXES, UNREAD
    from mrnn.retrieval.search import PhotoIndex

    photo = os.path.isfile(query)
    if not photo and query.lower().endswith((*SUFFIXES, *UNREAD)):
        raise OptionsError(f"{query}: no such file; give a photo that is there, or a sentence")
    if html:
        check_output("--html", html, ours=is_page, inputs=[Path(query)], overwrite=overwrite)
    opened = PhotoIndex.load(folder, model, encoder_file=encoder_file)
    results = opened.search(Path(query) if photo else query, top, paths=paths)
    if not photo:
        names = opened.names_of_tags(query)
        for name in names:
            tell(f'"{name}" is not in the model\'s vocabulary: found by tags')
        named = {word for name in names for word in name.split()}
        unknown = [word for word in opened.unknown_words(query) if word not in named]
        if unknown:
            listed = ", ".join(unknown[:10])
            tell(f"Ignored, as the model does not know them: {listed}")
    gone = [r.path for r in results if r.path is not None and not os.path.exists(r.path)]
    if gone:
        tell(f"{gone[0]} is no longer there; run mrnn index again")
    if html:
        from mrnn.retrieval.search_page import search_page

        write_whole(html, search_page(query, results))
        tell(f"Wrote {html}")
    for result in results:
        if as_json:
            print_json(json.dumps(result.model_dump(exclude_none=True)))
        elif not html:
            say(f"{result.score:8.2f}  {result.path or result.sentence}")
