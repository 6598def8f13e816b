"""The static page: what the export writes, and what it refuses."""

import hashlib
import itertools
import json
import re
import threading

import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.data.images import load_image
from mrnn.errors import CheckpointError, OptionsError
from mrnn.server import static_site
from mrnn.server.onnxruntime_web import CHECKSUMS
from mrnn.server.static_site import export_site

RUNTIME = {name: f"// {name}".encode() for name in CHECKSUMS}
NAMES = {"http://www.w3.org/2000/svg"}
"""Addresses in the page that are names, from which nothing is fetched."""


@pytest.fixture
def site(confident_model, colour_tags, tmp_path):
    export_site(confident_model, tmp_path / "site", RUNTIME, "1.2.3", None)
    return tmp_path / "site"


def service_worker(site):
    first, _, rest = (site / "service_worker.js").read_text().partition("\n")
    return json.loads(first.removeprefix("const SITE = ").removesuffix(";")), rest


def test_the_folder_holds_page_runtime_and_model(site, confident_model):
    facts = json.loads((site / "site.json").read_text())
    assert facts["model"]["version"] == "1.2.3"
    assert facts["model"]["index"] is None
    assert [encoder["size"] for encoder in facts["encoders"]] == [8]
    files = [*facts["files"], *itertools.chain(*facts["runtimes"].values())]
    for file in files:
        content = (site / file["path"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    fetched = {file["path"] for file in files}
    held, _ = service_worker(site)
    every = {f.relative_to(site).as_posix() for f in site.rglob("*") if f.is_file()}
    assert fetched | {*held["files"]} == {*every, "./"} - {"service_worker.js"}
    assert not fetched & {*held["files"]}
    assert (site / "model/model.safetensors").read_bytes() == (
        confident_model / "model.safetensors"
    ).read_bytes()
    assert "Microsoft" in (site / "ort/LICENSE").read_text()


def test_a_browser_fetches_one_runtime(site):
    facts = json.loads((site / "site.json").read_text())
    wasm, webgpu = ({file["path"] for file in facts["runtimes"][k]} for k in ("wasm", "webgpu"))
    assert not wasm & webgpu
    assert not (wasm | webgpu) & {file["path"] for file in facts["files"]}
    assert not [name for name in service_worker(site)[0]["files"] if name.endswith(".mjs")]


def test_the_probe_has_the_features_that_python_computes(site, confident_model):
    features = json.loads((site / "probe.json").read_text())
    captioner = Captioner.load(confident_model)
    photo = load_image(site / "probe.jpg", least_side=captioner.encoder.identity.size)
    expected = captioner.encoder.encode(captioner.encoder.preprocess(photo))
    assert features == pytest.approx(expected.tolist(), rel=1e-5)
    assert any(features)


def test_modules_import_only_what_is_there(site):
    for file in site.glob("*.js"):
        for name in re.findall(r'(?:from|import) "(.*?)"', file.read_text()):
            assert (site / name).is_file(), f"{file.name} imports {name}"
    page = (site / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^#"]*)"', page):
        assert (site / name).is_file(), name


def test_nothing_refers_to_other_hosts(site):
    for file in site.iterdir():
        if file.suffix in (".js", ".html", ".css", ".svg"):
            assert {*re.findall(r"https?://[^\s\"'`)]+", file.read_text())} <= NAMES, file.name


def test_the_policy_lets_nothing_out(site):
    page, (held, _) = (site / "index.html").read_text(), service_worker(site)
    assert f'<meta http-equiv="Content-Security-Policy" content="{held["policy"]}">' in page
    assert page.index("Content-Security-Policy") < page.index("<script")
    rules = dict(rule.split(" ", 1) for rule in held["policy"].split("; "))
    assert rules["default-src"] == rules["form-action"] == "'none'"
    assert rules["connect-src"] == "'self'"


def test_another_model_is_another_version(site, confident_model, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    export_site(confident_model, same, RUNTIME, "1.2.3", None)
    export_site(confident_model, other, RUNTIME, "1.2.4", None)
    versions = [service_worker(each)[0]["version"] for each in (site, same, other)]
    assert versions[0] == versions[1] != versions[2]


def test_a_folder_that_exists(confident_model, tmp_path):
    with pytest.raises(OptionsError, match=f"--web {tmp_path} exists; name a new folder"):
        export_site(confident_model, tmp_path, RUNTIME, "1", None)


def test_a_failure_leaves_nothing(confident_model, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(static_site, "_write_site", fail)
    with pytest.raises(OSError, match="full"):
        export_site(confident_model, tmp_path / "out" / "site", RUNTIME, "1", None)
    assert list((tmp_path / "out").iterdir()) == []


def test_of_two_writers_one_writes(confident_model, tmp_path):
    refused = []

    def export():
        try:
            export_site(confident_model, tmp_path / "site", RUNTIME, "1", None)
        except Exception as error:
            refused.append(error)

    writers = [threading.Thread(target=export) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(refused) == 1
    assert (tmp_path / "site" / "service_worker.js").is_file()


@pytest.mark.parametrize(
    ("table", "name", "value", "message"),
    [
        ("encoder", "resize_mode", "crop", "a browser can only squash"),
        ("encoder", "resize_mode", None, "trained on imported features"),
        ("decoding", "beam_groups", 2, "sets beam_groups, but a browser only does plain beam"),
        ("decoding", "temperature", 1.0, "sets temperature"),
    ],
)
def test_what_a_browser_cannot_run(confident_model, tmp_path, table, name, value, message):
    config = json.loads((confident_model / "config.json").read_text())
    config[table][name] = value
    (confident_model / "config.json").write_text(json.dumps(config))
    (confident_model / "heads.safetensors").unlink()  # which are of another encoder
    with pytest.raises(CheckpointError, match=message):
        export_site(confident_model, tmp_path / "site", RUNTIME, "1", None)
    assert not (tmp_path / "site").exists()
