import sys

import numpy as np
import pytest
import torch

from mrnn.encoders import load_encoder
from mrnn.encoders.network_encoder import NetworkEncoder, run_by_torch
from mrnn.encoders.onnx_runtime import TOLERANCE, WORTH_EXPORTING, accelerated, export_file
from mrnn.model.config import EncoderIdentity

MANY = WORTH_EXPORTING


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.convolution(x).relu().mean(dim=(2, 3))


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A small network, and an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = Small()
    identity = EncoderIdentity(
        name="small", layer="mean", fit="squash", size=8, feature_size=5, weights="0" * 16
    )
    return NetworkEncoder(identity, network, run_by_torch(network), (0.0,) * 3, (1.0,) * 3)


def noise(count, size=8):
    shape = (count, 1, 3, size, size)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def equal(one, other, pixels):
    expected = one.encode(pixels)
    return np.abs(other.encode(pixels) - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    return pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")


def test_many_photos_are_worth_an_export_and_later_a_few_use_it(encoder, onnxruntime):
    assert accelerated(encoder, MANY - 1) is encoder
    assert not export_file(encoder).exists()
    faster = accelerated(encoder, MANY)
    assert faster.run is not encoder.run
    assert faster.identity == encoder.identity
    assert equal(encoder, faster, noise(7))
    assert [file.name for file in export_file(encoder).parent.iterdir()] == [
        "small-mean-8-0000000000000000.onnx"
    ]
    later = accelerated(encoder, 1)
    assert later.run is not encoder.run
    np.testing.assert_array_equal(later.encode(noise(7)), faster.encode(noise(7)))
    other = encoder.identity.model_copy(update={"weights": "1" * 16})
    assert not export_file(NetworkEncoder(other, *list(vars(encoder).values())[1:])).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_the_default_encoders_give_equal_features(onnxruntime, tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain, faster = load_encoder(name), load_encoder(name, photos=MANY)
    assert faster.run is not plain.run
    pixels = noise(5, plain.identity.size)
    assert equal(plain, faster, pixels)
    assert equal(plain, faster, pixels[:1])


def test_a_damaged_export_is_left_aside_and_made_anew(encoder, onnxruntime):
    file = export_file(encoder)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"nonsense")
    assert accelerated(encoder, 1) is encoder
    assert equal(encoder, accelerated(encoder, MANY), noise(3))
    assert file.stat().st_size > 100
    other = encoder.identity.model_copy(update={"size": 9})
    wrong = NetworkEncoder(other, *list(vars(encoder).values())[1:])
    file.rename(export_file(wrong))
    assert accelerated(wrong, 1) is wrong  # it takes pixels of another size


def test_without_the_extra(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert accelerated(encoder, MANY) is encoder
    assert not export_file(encoder).exists()


def test_a_cache_folder_that_cannot_be_written(encoder, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert accelerated(encoder, MANY) is encoder


class Fickle(Small):
    """Computes something else while it is exported."""

    def forward(self, x):
        if torch.compiler.is_exporting():
            x = x * 2
        return super().forward(x)


def test_an_export_that_differs_is_not_kept(encoder, onnxruntime):
    torch.manual_seed(0)
    network = Fickle()
    fickle = NetworkEncoder(
        encoder.identity, network, run_by_torch(network), (0.0,) * 3, (1.0,) * 3
    )
    assert accelerated(fickle, MANY) is fickle
    assert list(export_file(fickle).parent.iterdir()) == []


def test_other_encoders_stay_as_they_are(colour_encoder):
    assert accelerated(colour_encoder, MANY) is colour_encoder
