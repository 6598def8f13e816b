"""The documentation as a site: complete, without a broken link, and without anything from afar."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.browser import browser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LOADED = re.compile(
    r"<(?:script|img|iframe|source|link(?! rel=\"canonical))\b[^>]*?(?:src|href)=\"([^\"]+)\""
)
IN_STYLES = re.compile(r"url\([\"']?(?:https?:)?//|@import")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    return folder


def build(config, folder):
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", folder],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        check=False, capture_output=True, text=True,
    )  # fmt: skip


def test_every_page_is_in_the_site_and_found_by_search(site):
    places = {path.relative_to(DOCS) for path in DOCS.rglob("*.md")}
    pages = {str(place.parent / place.name.replace("README.md", "index.md")) for place in places}
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    searched = {entry["location"].partition("#")[0] for entry in found}
    expected = {page.removesuffix(".md") + ".html" for page in pages}
    assert {page for page in expected if not (site / page).is_file()} == set()
    assert expected - searched == set()
    assert (site / "search" / "search_index.js").is_file()  # for pages that are opened as files


def test_pages_load_nothing_from_elsewhere_and_nothing_that_is_not_there(site):
    for page in site.rglob("*.html"):
        for target in LOADED.findall(page.read_text(encoding="utf-8")):
            assert "//" not in target, (page, target)
            if page.name != "404.html":  # its links are from the root of a server
                assert (page.parent / target.partition("?")[0]).is_file(), (page, target)
    for style in site.rglob("*.css"):
        assert not IN_STYLES.search(style.read_text(encoding="utf-8")), style


def test_pages_of_the_repository_are_pages_and_their_pictures_and_files_are_copied(site):
    readme = (site / "project" / "index.html").read_text(encoding="utf-8")
    assert 'href="../how-to/search.html"' in readme
    assert 'src="../screenshots/caption.jpg"' in readme
    assert 'href="CONTRIBUTING.html"' in readme
    reliability = (site / "reliability.html").read_text(encoding="utf-8")
    assert 'href="tests/faults/test_interrupted.py"' in reliability
    assert (site / "tests" / "faults" / "test_interrupted.py").is_file()


def test_quoted_lines_say_their_file(site):
    page = (site / "from-the-paper.html").read_text(encoding="utf-8")
    assert '<span class="filename">src/mrnn/training/network.py</span>' in page


@pytest.mark.slow
def test_search_works_where_pages_are_opened_as_files(site):
    with browser() as opened:
        page = opened.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "how-to" / "serve.html").as_uri())
        page.locator(".md-search__input").click()
        page.keyboard.type("sidecar")
        page.wait_for_selector(".md-search-result__item", timeout=60_000)
        links = page.locator(".md-search-result__link").evaluate_all("all => all.map(a => a.href)")
    assert any(link.startswith((site / "how-to" / "folders.html").as_uri()) for link in links)
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[gone](api.md#gone)", "#gone"),
        ("[gone](../src/gone.py)", "gone.py"),
        ("![gone](screenshots/gone.jpg)", "gone.jpg"),
    ],
)
def test_a_broken_link_fails(added, said, tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name in ("examples", "src", "tests", "CITATION.cff", *map(str, ROOT.glob("*.md"))):
        (tmp_path / Path(name).name).symlink_to(ROOT / name)
    with (tmp_path / "docs" / "scale.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{added}\n")
    built = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert built.returncode == 1
    assert said in built.stderr
