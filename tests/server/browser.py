"""Chromium for tests, where it is installed."""

import os
import shutil
from contextlib import contextmanager
from importlib.resources import files

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


WITH_GPU = (
    "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan",
)  # fmt: skip
"""WebGPU by software, where there is no GPU."""


@contextmanager
def browser(*flags):
    """A browser that trusts its own sandbox only where it is not root."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no Playwright")
    if hasattr(os, "getuid") and os.getuid() == 0:
        flags = ("--no-sandbox", *flags)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=list(flags))
        try:
            yield opened
        finally:
            opened.close()


def serious(page, where):
    """What axe finds on a page that is open: [where, rule, help, elements]."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    return [
        (where, found["id"], found["help"], [node["html"][:120] for node in found["nodes"][:3]])
        for found in page.evaluate("axe.run()")["violations"]
        if found["impact"] in ("serious", "critical", "moderate")
    ]
