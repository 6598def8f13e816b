"""`mrnn export`."""

import re
import shutil

from mrnn.cli import terminal
from mrnn.server import onnxruntime_web


def test_a_bundle_captions_anywhere(mrnn, model_with_heads, colour_encoder, album, tmp_path):
    bundle = tmp_path / "bundle"
    caption = ("caption", album, "--json", "--model")
    before = mrnn(*caption, model_with_heads)
    code, out, err = mrnn("export", model_with_heads, "--out", bundle)
    assert (code, err) == (0, f"Next: mrnn caption PHOTO --model {bundle}\n")
    told = r": \d+\.\d MB\. Largest differences from PyTorch: log-probabilities \d\.\de-\d\d nats; "
    assert re.fullmatch(re.escape(str(bundle)) + told + r"all \d+ captions agree\n", out)
    shutil.rmtree(model_with_heads)
    colour_encoder.file.unlink()
    assert mrnn(*caption, bundle) == before


def test_an_out_that_exists(mrnn, model, tmp_path):
    code, out, err = mrnn("export", model, "--out", tmp_path)
    assert (code, out, err) == (1, "", f"mrnn: --out {tmp_path} exists; name a new folder\n")


def test_without_torch(mrnn, model, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    code, out, err = mrnn("export", model, "--out", tmp_path / "bundle")
    assert (code, out) == (1, "")
    assert err == "mrnn: Exporting needs PyTorch. Run: pip install 'mrnn[train]'\n"


def test_a_page_for_the_browser(mrnn, model_with_heads, tmp_path, monkeypatch):
    runtime = dict.fromkeys(onnxruntime_web.CHECKSUMS, b"//")
    monkeypatch.setattr(onnxruntime_web, "read_runtime", lambda source, tell: runtime)
    site = tmp_path / "site"
    code, out, err = mrnn("export", model_with_heads, "--web", site)
    assert code == 0
    assert re.fullmatch(rf"{site}: \d+\.\d MB, \d+\.\d of them the model\n", out)
    assert err.startswith("Next: python -m http.server --bind 127.0.0.1 --directory ")
    assert (site / "index.html").is_file()
    code, _, err = mrnn("export", model_with_heads, "--web", site)
    assert (code, err) == (1, f"mrnn: --web {site} exists; name a new folder\n")


def test_one_of_bundle_and_page(mrnn, model, tmp_path):
    line = "mrnn: Give --out BUNDLE, for other machines, or --web OUT, for the browser\n"
    assert mrnn("export", model) == (1, "", line)
    both = ("--out", tmp_path / "a", "--web", tmp_path / "b")
    assert mrnn("export", model, *both) == (1, "", line)
    line = "mrnn: --ort goes with --web; leave it out\n"
    assert mrnn("export", model, "--out", tmp_path / "a", "--ort", tmp_path) == (1, "", line)
