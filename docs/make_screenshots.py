"""Makes docs/screenshots/ from the example photos, whose licences let anybody use them.

Run it after a change of the page, and look at them: .venv/bin/python docs/make_screenshots.py
It needs Playwright and a chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).with_name("screenshots")
PHOTOS = ("coffee.jpg", "cat.jpg", "raccoon.jpg", "photographer.jpg", "stairs.jpg", "page.png")
WIDE, PHONE = (1200, 860), (390, 800)
MOST_BYTES = 150_000


def opened(browser: Browser, url: str, size: tuple[int, int], theme: str) -> Page:
    """The page in a window of that size."""
    width, height = size
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
    )
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    return page


def captioned(page: Page) -> None:
    """With captions of the photos, one of them marked good and one looked at closely."""
    page.set_input_files("#files", [ROOT / "examples" / name for name in PHOTOS])
    page.wait_for_selector(f"text={len(PHOTOS)} photos", timeout=120_000)
    page.locator(".card").nth(1).get_by_role("button", name="Good").click()
    page.locator(".card").nth(0).locator("summary").click()
    page.wait_for_timeout(500)


def searched(page: Page, url: str) -> None:
    """With what a sentence finds."""
    page.goto(f"{url}#search?q=a+cup+of+coffee")
    page.wait_for_function(
        "() => document.querySelectorAll('.find .caption:not(:empty)').length > 3",
        timeout=120_000,
    )
    page.wait_for_timeout(500)


def save(page: Page, name: str) -> None:
    """As a JPEG that is not too large."""
    file = FOLDER / f"{name}.jpg"
    for quality in (85, 75, 65, 55):
        page.screenshot(path=file, type="jpeg", quality=quality)
        if file.stat().st_size <= MOST_BYTES:
            print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")
            return
    sys.exit(f"{file} is larger than {MOST_BYTES:,} bytes")


def main() -> None:
    """All of them."""
    FOLDER.mkdir(exist_ok=True)
    mrnn = (sys.executable, "-m", "mrnn")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photos = [ROOT / "examples" / name for name in PHOTOS]
        subprocess.run([*mrnn, "index", *photos, "--out", f"{folder}/index"], check=True)
        command = [*mrnn, "serve", "--port", "0", "--index", f"{folder}/index"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
        assert server.stdout
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found, "the server did not start"
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = opened(browser, found[0], WIDE, "light")
            captioned(page)
            save(page, "caption")
            searched(page, found[0])
            save(page, "search")
            page = opened(browser, found[0], PHONE, "dark")
            captioned(page)
            save(page, "phone")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
