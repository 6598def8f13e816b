"""What captioning in the browser alone costs: sizes, time to open, first and further captions.

Run: PYTHONPATH=. .venv/bin/python benchmarks/browser.py SITE [--one-processor]
SITE is what `mrnn export --web` wrote. Each visit has a browser of its own, with the profile of the
one before. Processor seconds are those of all of the browser, so they hold on a busy machine too.
"""

import argparse
import gzip
import os
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from mrnn.server.onnxruntime_web import RUNTIMES
from tests.example_photos import write_photos
from tests.server.browser import CHROMIUM
from tests.server.static import caption, serving

LOADED = "html[data-loaded]"
WAIT = 600_000
"""Milliseconds."""
SETTLED = 3.0
"""Seconds after which a browser has kept what it compiled."""


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
    parts = {
        "model": site.glob("model/**/*"),
        "page": site.glob("*"),
        **{kind: [site / "ort" / name for name in names] for kind, names in RUNTIMES.items()},
    }
    for what, files in parts.items():
        contents = [file.read_bytes() for file in files if file.is_file()]
        packed = sum(len(gzip.compress(content)) for content in contents)
        print(f"{what}: {sum(map(len, contents)) / 1e6:.1f} MB, {packed / 1e6:.1f} by gzip")


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--one-processor", action="store_true", help="for all of the browser")
    asked = parser.parse_args()
    if asked.one_processor:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sizes(asked.site)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(asked.site) as server,
        sync_playwright() as playwright,
    ):
        photos = write_photos(Path(folder) / "photos")
        for visit in ("first visit", "second", "third"):
            with playwright.chromium.launch_persistent_context(
                f"{folder}/profile", executable_path=CHROMIUM, args=["--no-sandbox"]
            ) as context:
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
                time.sleep(SETTLED)


if __name__ == "__main__":
    main()
