"""`mrnn export`."""

import re
import shutil

from mrnn.cli import terminal


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
