"""Finds as one page of thumbnails that needs no server and loads nothing from elsewhere."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrnn.data.images import load_image
from mrnn.errors import ImageError, counted
from mrnn.pages import breakable, escaped, page
from mrnn.retrieval.results import SearchResult

SIDE = 320
"""Longest side of a thumbnail, in pixels."""
STYLE = ".finds { margin-top: 1rem } .gone { padding: 1rem }"


def search_page(
    query: str, results: Sequence[SearchResult], captions: Mapping[str, str] | None = None
) -> str:
    """The page, with captions by the paths of photos. A photo that is away is said to be gone."""
    count = f"{counted(len(results), 'find')}, best first."
    items = "\n".join(_item(result, captions or {}) for result in results)
    return page(
        query,
        f'<p class="quiet">{count}</p>\n<ol class="finds">\n{items}\n</ol>',
        style=STYLE,
    )


def _item(result: SearchResult, captions: Mapping[str, str]) -> str:
    score = f'<strong title="score">{result.score:.2f}</strong>'
    if result.path is None:
        sentence = f'<p class="caption">{escaped(result.sentence)}</p>'
        return f'<li class="find"><div class="card-body">{sentence}<p>{score}</p></div></li>'
    path = Path(result.path)
    caption = captions.get(result.path, "")
    try:
        thumbnail = _thumbnail(path)
        link, text = escaped(path.as_uri()), escaped(caption or path.name)
        picture = f'<a class="photo" href="{link}"><img alt="{text}" src="{thumbnail}"></a>'
    except (ImageError, ValueError):  # no absolute path, in a damaged index
        picture = '<p class="gone quiet">(cannot be read any more)</p>'
    return (
        f'<li class="find">{picture}<div class="card-body">'
        f'<p class="card-name"><span>{escaped(path.name)}</span>{score}</p>'
        f'<p class="caption">{escaped(caption)}</p>'
        f'<p class="path">{breakable(result.path)}</p></div></li>'
    )


def _thumbnail(path: Path) -> str:
    photo = load_image(path, least_side=SIDE)
    photo.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
