"""Finds as one page of thumbnails that needs no server and loads nothing from elsewhere."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from mrnn.data.images import load_image
from mrnn.errors import ImageError, printable
from mrnn.retrieval.search import SearchResult

SIDE = 320
"""Longest side of a thumbnail, in pixels."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="mrnn">
<title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 2rem; color-scheme: light dark }}
ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.5rem;
  padding: 0; list-style: none }}
img {{ width: 100%; border-radius: 4px }}
p {{ margin: .3rem 0; overflow-wrap: anywhere }}
.score {{ opacity: .7; font-size: .85em }}
</style></head><body>
<h1>{title}</h1>
<ol>
{items}
</ol>
</body></html>
"""


def search_page(query: str, results: Sequence[SearchResult]) -> str:
    """The page. A photo that is no longer there is said to be gone."""
    return _PAGE.format(title=_text(query), items="\n".join(map(_item, results)))


def _item(result: SearchResult) -> str:
    score = f'<p class="score">{result.rank}. score {result.score:.2f}</p>'
    if result.path is None:
        return f"<li><p>{_text(result.sentence)}</p>{score}</li>"
    try:
        link = html.escape(Path(result.path).as_uri())
        picture = f'<a href="{link}"><img alt="" src="{_thumbnail(Path(result.path))}"></a>'
    except (ImageError, ValueError):  # no absolute path, in a damaged index
        picture = "<p>(cannot be read any more)</p>"
    return f"<li>{picture}<p>{_text(result.path)}</p>{score}</li>"


def _text(text: object) -> str:
    """As a page shows it, with what misleads or cannot be shown escaped."""
    return html.escape(printable(text))


def _thumbnail(path: Path) -> str:
    photo = load_image(path, least_side=SIDE)
    photo.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
