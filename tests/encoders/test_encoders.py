"""The names of encoders, their identities, and which of them are found by name."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torch import nn

from mrnn.encoders import DEFAULT_ENCODER, ENCODERS, PRETRAINED, load_encoder
from mrnn.encoders.network_encoder import resized, run_by_torch
from mrnn.errors import OptionsError
from mrnn.model.config import EncoderIdentity
from tests.conftest import ColourEncoder


def test_names():
    assert list(ENCODERS) == [f"efficientnet-lite{variant}" for variant in (0, 1, 2)]
    assert [part.split("@")[0] for part in DEFAULT_ENCODER.split("+")] == list(ENCODERS)
    assert set(PRETRAINED) == {
        *("alexnet", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152")
    }  # fmt: skip
    with pytest.raises(
        OptionsError,
        match=r"^There is no encoder 'vgg'; those there are: efficientnet-lite0, .*"
        r"alexnet, vgg16, .*, timm:NAME, any at another size as NAME@320, "
        r"and several joined as NAME\+NAME$",
    ):
        load_encoder("vgg")
    with pytest.raises(
        OptionsError,
        match=r"^A photo is fitted by crop, squash, pad, crop-flip, squash-flip, pad-flip, "
        r"ten-crop, not by 'stretch'$",
    ):
        load_encoder(fit="stretch")


def test_weights_for_an_encoder_that_has_its_own(tmp_path):
    with pytest.raises(
        OptionsError, match=r"^The weights of efficientnet-lite2 install with the package: no"
    ):
        load_encoder("efficientnet-lite2", weights=tmp_path / "x.pth")


def test_identities_in_words():
    vgg = EncoderIdentity(
        name="vgg16", layer="fc7", fit="ten-crop", size=224, feature_size=4096, weights="a" * 16
    )
    assert str(vgg) == "vgg16 (fc7, ten-crop, 224 px, weights aaaaaaaaaaaaaaaa)"
    assert (vgg.imported, vgg.least_side) == (False, 256)
    assert vgg.model_copy(update={"fit": "squash-flip"}).least_side == 224
    made_elsewhere = EncoderIdentity(
        name="detector", layer="imported", fit=None, size=0, feature_size=2048, weights=""
    )
    assert str(made_elsewhere) == "detector (imported, 2,048 values)"
    assert made_elsewhere.imported


def test_the_same_network_at_another_size():
    own, larger = load_encoder("efficientnet-lite0"), load_encoder("efficientnet-lite0@320")
    assert (larger.identity.name, larger.identity.size) == ("efficientnet-lite0@320", 320)
    assert larger.identity.weights == own.identity.weights
    photo = Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50).convert("RGB")
    pixels = larger.preprocess(photo)
    assert pixels.shape == (1, 3, 320, 320)
    seen, before = larger.encode(pixels[None]), own.encode(own.preprocess(photo)[None])
    assert seen.shape == before.shape == (1, 1280)
    np.testing.assert_allclose(seen, run_by_torch(own.network)(pixels), rtol=1e-5, atol=1e-5)
    likeness = (seen * before).sum() / np.linalg.norm(seen) / np.linalg.norm(before)
    assert 0.5 < likeness < 0.9999


@pytest.mark.parametrize("size", ["", "big", "-5", "3.5", "12", "5000", "224@224"])
def test_a_size_that_is_none(size):
    with pytest.raises(
        OptionsError,
        match=f"^efficientnet-lite0@{size}: the size is a number of pixels, 64 to 1024$",
    ):
        load_encoder(f"efficientnet-lite0@{size}")


def test_an_encoder_of_one_size_only(monkeypatch):
    monkeypatch.setitem(ENCODERS, "colour", lambda fit: ColourEncoder())
    with pytest.raises(OptionsError, match=r"^colour sees photos at its own size only: .* @64$"):
        load_encoder("colour@64")
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    encoder = load_encoder("efficientnet-lite0")
    with pytest.raises(OptionsError, match=r"^efficientnet-lite0 sees photos at its own size only"):
        resized(replace(encoder, run=run_by_torch(network)), "96")
