"""Chromium for tests, where it is installed."""

import os
import shutil
from contextlib import contextmanager

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
