"""The static page in a real browser: its captions are Python's, also without a network."""

import json
import re
import shutil

import pytest

from mrnn import Captioner, __version__
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.server.static_site import export_site
from tests.example_photos import write_photos
from tests.server.browser import serious
from tests.server.static import HYPOTHESES, LOADED, caption

pytestmark = pytest.mark.slow
NATS = 0.001
"""By which log-probabilities may differ: no two processors round alike."""


@pytest.fixture(scope="module")
def site(runtime, tmp_path_factory):
    """The site of the model that ships."""
    folder = tmp_path_factory.mktemp("static")
    export_site(DEFAULT_MODEL, folder / "site", runtime, __version__, None)
    yield folder / "site"
    shutil.rmtree(folder)


def open_page(page, server):
    page.goto(server.url)
    page.wait_for_selector("html[data-ready]")


def load(page, server):
    open_page(page, server)
    page.wait_for_selector("html[data-loaded]", state="attached", timeout=LOADED)


def test_captions_are_those_of_python_also_without_a_network(context, static_server, tmp_path):
    page, problems, asked = context.new_page(), [], set()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text))
    page.on("request", lambda request: asked.add(request.url))
    photos = write_photos(tmp_path / "photos")
    captioner = Captioner.load()
    decoding = captioner.checkpoint.config.decoding.model_copy(update={"n_best": HYPOTHESES})
    load(page, static_server)
    expected = {}
    for name, file in photos.items():
        expected[name] = json.loads(captioner.caption(file, decoding).model_dump_json())
        expected[name]["image"] = file.name
        found = caption(page, file)
        agree(found, expected[name])
    static_server.shutdown()
    static_server.server_close()  # nobody answers any more
    load(page, static_server)
    assert page.evaluate("crossOriginIsolated")
    agree(caption(page, photos["upright"]), expected["upright"])
    assert [line for line in problems if line != "No available adapters."] == []  # of WebGPU
    assert {url for url in asked if not url.startswith((static_server.url, "blob:"))} == set()


def agree(found, expected):
    """Texts are equal, and numbers nearly."""
    texts = [[each["text"] for each in result["captions"]] for result in (found, expected)]
    assert texts[0] == texts[1]
    assert found.keys() == expected.keys()
    assert (found["image"], found["error"]) == (expected["image"], None)
    assert [tag["tag"] for tag in found["tags"]] == [tag["tag"] for tag in expected["tags"]]
    for one, other in zip(found["tags"], expected["tags"], strict=True):
        assert one == pytest.approx(other, abs=0.002)
    for name in ("familiarity", "confidence"):
        assert found[name] == pytest.approx(expected[name], abs=0.002)
    for one, other in zip(found["captions"], expected["captions"], strict=True):
        assert one["log_probability"] == pytest.approx(other["log_probability"], abs=NATS)
        for word, same in zip(one["words"], other["words"], strict=True):
            assert word["word"] == same["word"]
            assert word["log_probability"] == pytest.approx(same["log_probability"], abs=NATS)


def test_the_runtime_is_kept_as_it_came(context, static_server):
    """Browsers keep compiled code only with responses that no script made."""
    page = context.new_page()
    load(page, static_server)
    found = page.evaluate(
        """async () => {
            const [{ path, sha256 }] = (await (await fetch("site.json")).json()).runtimes.wasm;
            const answer = await fetch(`${path}?${sha256.slice(0, 16)}`);
            const kept = await caches.match(answer.url);
            return [kept?.url === answer.url, answer.headers.get("Content-Type")];
        }"""
    )
    assert found == [True, "application/wasm"]
    assert sum("threaded.wasm" in path for path in static_server.asked) == 1


def test_a_download_that_was_cut_goes_on(context, static_server):
    page = context.new_page()
    static_server.cut = "ssd-mobilenet-v2.onnx"
    open_page(page, static_server)
    alert = page.locator("#loading[role=alert]")
    alert.wait_for(timeout=LOADED)
    line = "The download of the model was cut; what has come is kept. Try again"
    assert alert.inner_text() == line
    static_server.cut, static_server.asked[:] = "", []
    alert.get_by_role("button", name="Try again").click()
    page.wait_for_selector("html[data-loaded]", state="attached", timeout=LOADED)
    assert not [path for path in static_server.asked if "lite0" in path]  # it had come


def test_a_file_that_is_not_of_the_page(context, static_server, site):
    page, file = context.new_page(), site / "model" / "vocabulary.txt"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"dog", b"cat", 1))
    try:
        open_page(page, static_server)
        page.locator("#loading[role=alert]").wait_for(timeout=LOADED)
        told = page.locator("#loading").inner_text()
    finally:
        file.write_bytes(content)
    assert told.startswith("model/vocabulary.txt is not the file of this page; load the page again")


def test_a_browser_without_webassembly(context, static_server):
    page = context.new_page()
    page.add_init_script("delete globalThis.WebAssembly")
    open_page(page, static_server)
    assert re.match(
        "This page needs a browser with WebAssembly", page.get_by_role("alert").inner_text()
    )


def test_what_is_no_photo(context, static_server, tmp_path):
    page = context.new_page()
    load(page, static_server)
    page.locator("#files").set_input_files(
        [{"name": "bad.png", "mimeType": "image/png", "buffer": b"no image"}]
    )
    page.locator(".failed").wait_for()
    line = "bad.png: this browser cannot read it; save it as JPEG, PNG or WebP"
    assert page.locator(".failed").inner_text() == line
    photo = write_photos(tmp_path)["tiny"]
    page.locator("#files").set_input_files(photo)
    page.locator(".card .caption").wait_for(timeout=LOADED)
    assert page.locator("[data-tab=search]").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, static_server, tmp_path, theme):
    context = chromium.new_context(color_scheme=theme, bypass_csp=True)
    page, found = context.new_page(), []
    static_server.cut = "ssd-mobilenet-v2.onnx"
    open_page(page, static_server)
    found += serious(page, "loading")
    page.locator("#loading[role=alert]").wait_for(timeout=LOADED)
    found += serious(page, "a download that was cut")
    static_server.cut = ""
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("html[data-loaded]", state="attached", timeout=LOADED)
    bad = {"name": "bad.png", "mimeType": "image/png", "buffer": b"no image"}
    page.locator("#files").set_input_files([bad])
    page.locator(".failed").wait_for()
    page.locator("#files").set_input_files(write_photos(tmp_path)["tiny"])
    page.locator(".card .caption").wait_for(timeout=LOADED)
    page.locator(".card summary").click()
    page.locator("#options > summary").click()
    page.locator("#save > summary").click()
    found += serious(page, "cards")
    page.goto(f"{static_server.url}#model")
    page.locator(".prose").wait_for()
    found += serious(page, "model")
    context.close()
    assert found == []


def test_nothing_can_be_sent_elsewhere(context, static_server):
    page = context.new_page()
    load(page, static_server)
    tried = """async () => {
        try { await fetch("https://example.org/", { method: "POST", body: "x" }); return "sent"; }
        catch { return "refused"; }
    }"""
    refused = []
    page.on("console", lambda line: refused.append(line.text))
    assert page.evaluate(tried) == "refused"
    assert any("Content Security Policy" in line for line in refused)
