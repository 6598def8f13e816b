"""Pages of HTML that are written: whole in themselves, with the look of the server's page."""

import base64
import hashlib
import html
import re
from pathlib import Path
from string import Template

from mrnn.errors import printable

_SERVED = Path(__file__).parent / "server" / "page"
_STYLE, _ICON = _SERVED / "style.css", _SERVED / "icon.svg"
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="mrnn">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src $allowed; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style
.top { position: static }
main > h1 { font-size: 1.6rem; line-height: 1.2; letter-spacing: -.015em; overflow-wrap: anywhere }
</style>
</head>
<body>
<header class="top"><span class="brand">$icon<span>mrnn</span></span></header>
<main>
<h1>$title</h1>
$content
</main>
$script</body>
</html>
""")


def page(title: str, content: str, *, style: str = "", script: str = "") -> str:
    """A page that loads nothing from elsewhere, and runs no script but its own.

    `title` is text; `content` is HTML, `style` CSS beside the common one, `script` JavaScript.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    drawing = re.sub(r' xmlns="[^"]*"', ' width="28" height="28" aria-hidden="true"', _read(_ICON))
    return _PAGE.substitute(
        allowed=f"'sha256-{digest}'" if script else "'none'",
        title=escaped(title),
        style=f"{_read(_STYLE)}\n{style}",
        icon=drawing.strip(),
        content=content,
        script=f"<script>{script}</script>\n" if script else "",
    )


def escaped(text: object) -> str:
    """Safe as content and as an attribute, with what misleads or cannot be shown escaped."""
    return html.escape(printable(text))


def breakable(path: str) -> str:
    """A path as content; a long one is broken after its separators first."""
    return "<wbr>".join(map(escaped, re.split(r"(?<=[/\\])(?=[^/\\])", path)))


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
