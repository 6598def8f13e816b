"""What the site needs beside docs/: pages of the repository, and files that pages link to.

GitHub shows the same pages, so links are relative to the file that holds them, such as
../README.md. In the site a page of `PAGES` is a page of its own, and any other file a copy.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "project/README.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "CHANGELOG.md": "project/CHANGELOG.md",
    "SECURITY.md": "project/SECURITY.md",
    "src/mrnn/models/flickr8k/MODEL_CARD.md": "project/MODEL_CARD.md",
    "examples/README.md": "project/examples.md",
}
"""Files of the repository, and where the site has them."""
SOURCES = {place: source for source, place in PAGES.items()}
ICON = "src/mrnn/server/page/icon.svg"
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"^```(py) ([^\n]+)$", re.MULTILINE)
LINK = re.compile(r"""(\]\(|\ssrc=")(?!\w+:)([^)"\s#]+)""")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts each decision into the navigation, in the order of their numbers."""
    names = sorted(path.name for path in Path(config.docs_dir, "decisions").glob("*.md"))
    for part in config.nav or []:
        if part == {"Decisions": "decisions"}:
            part["Decisions"] = [f"decisions/{name}" for name in names]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in docs/."""
    files.append(File.generated(config, "icon.svg", abs_src_path=str(ROOT / ICON)))
    for source, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text with links as the site has them, and names of files above quoted lines."""
    place = page.file.src_uri
    source = SOURCES.get(place, f"docs/{place}")

    def moved(match: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / match[2])
        kept = PAGES.get(target, target.removeprefix("docs/"))
        new = kept == target and files.get_file_from_path(target) is None
        if new and (ROOT / target).is_file():
            files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
        return match[1] + os.path.relpath(kept, PurePosixPath(place).parent)

    parts, end = [], 0
    for block in BLOCK.finditer(markdown):
        parts += [LINK.sub(moved, markdown[end : block.start()])]
        parts += [QUOTED.sub(r'```\1 title="\2"', block[0])]
        end = block.end()
    return "".join([*parts, LINK.sub(moved, markdown[end:])])
