"""What captioning in the browser alone costs: sizes, time to open, first and further captions.

Run: PYTHONPATH=. .venv/bin/python benchmarks/browser.py SITE [--one-thread]
SITE is what `mrnn export --web` wrote. Processor seconds are those of all of the browser, so they
hold on a busy machine too; a browser that opens also compiles beside what it waits for.
"""

import argparse
import gzip
import os
import tempfile
import time
from pathlib import Path

from tests.example_photos import write_photos
from tests.server.browser import browser
from tests.server.static import caption, serving

LOADED = "html[data-loaded]"
WAIT = 600_000
"""Milliseconds."""


def processor_seconds() -> float:
    """Of this process and all below it that run."""
    children: dict[int, list[int]] = {}
    spent = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        spent[int(folder.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def below(process: int) -> float:
        return spent.get(process, 0) + sum(below(child) for child in children.get(process, []))

    return below(os.getpid())


class Watch:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self._start, self._spent = time.perf_counter(), processor_seconds()

    def __str__(self) -> str:
        wall = time.perf_counter() - self._start
        return f"{wall:.2f} s, {processor_seconds() - self._spent:.2f} of processor"


def sizes(site: Path) -> None:
    """On disk, and as a host with gzip sends them."""
    for what, folder in (("model", "model/**/*"), ("runtime", "ort/*"), ("page", "*")):
        contents = [file.read_bytes() for file in site.glob(folder) if file.is_file()]
        packed = sum(len(gzip.compress(content)) for content in contents)
        print(f"{what}: {sum(map(len, contents)) / 1e6:.1f} MB, {packed / 1e6:.1f} by gzip")


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument(
        "--one-thread", action="store_true", help="as on a page that is not isolated"
    )
    asked = parser.parse_args()
    sizes(asked.site)
    with tempfile.TemporaryDirectory() as folder, serving(asked.site) as server:
        photos = write_photos(Path(folder))
        with browser() as chromium:
            workers = "block" if asked.one_thread else "allow"  # they isolate the page
            context = chromium.new_context(service_workers=workers)
            for visit in ("first visit", "warm start"):
                page = context.new_page()
                watch = Watch()
                page.goto(server.url)
                page.wait_for_selector(LOADED, state="attached", timeout=WAIT)
                threads = page.evaluate("document.documentElement.dataset.loaded")
                print(f"{visit}: the model is there after {watch} ({threads} threads)")
                for place, (name, file) in enumerate(photos.items()):
                    photo = Watch()
                    caption(page, file)
                    print(f"  {name}: {photo}" + ("" if place else f"; since the address: {watch}"))


if __name__ == "__main__":
    main()
