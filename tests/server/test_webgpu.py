"""The static page on a GPU, which here is software; with the tiny model."""

import json

import pytest

from mrnn import Captioner
from mrnn.server.onnxruntime_web import RUNTIMES
from mrnn.server.static_site import export_site
from tests.example_photos import write_photos
from tests.server.browser import WITH_GPU
from tests.server.static import LOADED, caption, serving

pytestmark = pytest.mark.slow
FLAGS = WITH_GPU
CODE = {kind: files[0] for kind, files in RUNTIMES.items()}


@pytest.fixture
def site(runtime, confident_model, colour_tags, tmp_path):
    export_site(confident_model, tmp_path / "site", runtime, "1", None)
    return tmp_path / "site"


@pytest.fixture
def page(context):
    """A page that prints nothing."""
    opened, problems = context.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text))
    yield opened
    assert problems == []


def load(page, server, query=""):
    """What the page says of where it runs, and which code of ONNX Runtime it fetched."""
    server.asked.clear()
    page.goto(f"{server.url}{query}")
    page.wait_for_selector("html[data-loaded]", state="attached", timeout=LOADED)
    code = [kind for kind, name in CODE.items() if any(f"/{name}?" in a for a in server.asked)]
    return page.locator("#privacy").inner_text(), code


@pytest.fixture
def gpu(context, static_server):
    other = context.new_page()
    other.goto(f"{static_server.url}icon.svg")
    found = other.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())")
    other.close()
    if not found:
        pytest.skip("this chromium has no WebGPU")


def same(found, photo, confident_model):
    """As Python's."""
    captioner = Captioner.load(confident_model)
    expected = json.loads(captioner.caption(photo).model_dump_json())
    best, wanted = found["captions"][0], expected["captions"][0]
    assert best["text"] == wanted["text"]
    assert best["log_probability"] == pytest.approx(wanted["log_probability"], abs=0.001)


def test_software_is_no_gpu(page, static_server, gpu):
    told, code = load(page, static_server)
    assert "GPU" not in told
    assert code == ["wasm"]


def test_a_gpu_that_agrees_captions_as_python(page, static_server, gpu, confident_model, tmp_path):
    told, code = load(page, static_server, "?gpu=any")
    assert told.endswith("The GPU helps.")
    assert code == ["webgpu"]
    photo = write_photos(tmp_path / "photos")["upright"]
    same(caption(page, photo), photo, confident_model)


def test_a_gpu_that_does_not_agree_is_not_used(
    context, page, site, static_server, gpu, confident_model, tmp_path
):
    features = json.loads((site / "probe.json").read_text())
    (site / "probe.json").write_text(json.dumps([1.002 * value for value in features]))
    told, code = load(page, static_server, "?gpu=any")
    assert told.endswith("The GPU is not used: its features are 0.20 % off.")
    assert code == ["wasm", "webgpu"]
    photo = write_photos(tmp_path / "photos")["upright"]
    same(caption(page, photo), photo, confident_model)
    again, code = load(context.new_page(), static_server, "?gpu=any")  # which remembers it
    assert (again, code) == (told, [])


def test_a_gpu_that_fails_is_not_used(page, runtime, gpu, confident_model, tmp_path):
    broken = {**runtime, "ort.min.mjs": b"throw new Error('no device')"}
    export_site(confident_model, tmp_path / "broken", broken, "1", None)
    with serving(tmp_path / "broken") as server:
        told, _ = load(page, server, "?gpu=any")
        assert told.endswith("The GPU is not used: no device.")
        photo = write_photos(tmp_path / "photos")["upright"]
        same(caption(page, photo), photo, confident_model)


LOSE = """async () => {
    const { runtimes } = await (await fetch("site.json")).json();
    const [, { path, sha256 }] = runtimes.webgpu;
    const ort = await import(new URL(`${path}?${sha256.slice(0, 16)}`, self.location));
    (await ort.env.webgpu.device).destroy();
}"""


@pytest.mark.parametrize("busy", [False, True])
def test_a_gpu_that_is_lost(page, static_server, gpu, confident_model, tmp_path, busy):
    load(page, static_server, "?gpu=any")
    (worker,) = page.workers
    photo = write_photos(tmp_path / "photos")["upright"]
    if busy:  # the photo comes before the page knows
        worker.evaluate(f"() => {{ setTimeout({LOSE}); }}")
    else:
        worker.evaluate(LOSE)
        page.wait_for_timeout(500)
    same(caption(page, photo), photo, confident_model)
    assert page.workers != [worker]
