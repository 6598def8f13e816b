"""`mrnn doctor`."""

import re
import sys

import pytest

from mrnn import __version__
from mrnn.model import devices
from mrnn.model.devices import available_devices


def test_what_is_here(mrnn, model, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code, out, err = mrnn("doctor", "--model", model)
    assert (code, err) == (0, "")
    first, packages, devices, training, threads, text, trained, encoder = out.splitlines()
    assert first.startswith(f"mrnn {__version__}, Python 3.")
    assert re.fullmatch(r"packages: (\S+ \S+, )*\S+ \S+", packages)
    assert "onnxruntime" in packages
    for name in available_devices():
        assert f"{name} (" in devices
    assert re.match(r"devices for training, by PyTorch: cpu.*; \d+ threads$", training)
    assert re.fullmatch(r"threads: 3 of \d+ processors \(OMP_NUM_THREADS=3\)", threads)
    assert "stdout in" in text
    assert re.fullmatch(
        rf"model: {re.escape(str(model))}, [0-9a-f]{{16}}, 10 words, without heads", trained
    )
    assert encoder.startswith("encoder: colour (")


def test_without_torch(mrnn, model, monkeypatch):
    monkeypatch.setattr(sys.modules["mrnn.cli.doctor"], "find_spec", lambda name: None)
    code, out, _ = mrnn("doctor", "--model", model)
    assert code == 0
    assert "devices for training: none, as PyTorch is not installed (pip install" in out


def test_a_model_that_is_none(mrnn, tmp_path):
    code, out, err = mrnn("doctor", "--model", tmp_path)
    assert code == 1
    assert "devices for captions and search" in out
    assert err.startswith(f"mrnn: {tmp_path} is not a trained model")


@pytest.mark.parametrize(
    "command",
    [
        ("caption", "photo.png"), ("index", "photos", "--out", "index"), ("search", "index", "red"),
        ("extract", "data"), ("evaluate", "--data", "data", "--split", "dev"),
    ],
)  # fmt: skip
def test_every_verb_that_runs_a_model_refuses_a_device_that_is_not_there(
    mrnn, dataset, model_with_heads, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    assert mrnn("index", "photos", "--out", "index", "--model", model_with_heads)[0] == 0
    (tmp_path / "photos" / "dev-00-red.png").rename(tmp_path / "photo.png")
    monkeypatch.setattr(devices, "available_devices", lambda: ["coreml", "cpu"])
    code, out, err = mrnn(*command, "--device", "cuda")
    assert (code, out) == (1, "")
    assert err == (
        "mrnn: --device cuda: this onnxruntime has coreml, cpu; for cuda: pip uninstall "
        "onnxruntime, then pip install onnxruntime-gpu; auto takes the best\n"
    )


def test_auto_is_told(mrnn, model, colours, colour_encoder):
    photo = colours.images[0].path
    code, out, err = mrnn("caption", photo, "--model", model, "--device", "auto")
    assert code == 0
    assert err.splitlines()[0] == f"The model runs on: {available_devices()[0]}"
    assert mrnn("caption", photo, "--model", model)[1] == out
