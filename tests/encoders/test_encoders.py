"""The names of encoders, their identities, and which of them are found by name."""

import pytest

from mrnn.encoders import DEFAULT_ENCODER, ENCODERS, PRETRAINED, EncoderIdentity, load_encoder
from mrnn.errors import OptionsError


def test_names():
    assert list(ENCODERS) == [f"efficientnet-lite{variant}" for variant in (0, 1, 2)]
    assert "+".join(ENCODERS) == DEFAULT_ENCODER
    assert set(PRETRAINED) == {
        *("alexnet", "vgg16", "vgg19", "resnet50", "resnet101", "resnet152")
    }  # fmt: skip
    with pytest.raises(
        OptionsError,
        match=r"^There is no encoder 'vgg'; those there are: efficientnet-lite0, .*"
        r"alexnet, vgg16, .*, timm:NAME, and several joined as NAME\+NAME$",
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
