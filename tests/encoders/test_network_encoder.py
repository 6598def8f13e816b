import numpy as np
import pytest
import torch
from PIL import Image

from mrnn.encoders import Encoder
from mrnn.encoders.network_encoder import NetworkEncoder, run_by_torch
from mrnn.model.config import EncoderIdentity


class Corner(torch.nn.Module):
    """Its features are the colour of the pixel at the left above, and the number of photos."""

    def forward(self, x):
        return torch.cat([x[:, :, 0, 0], torch.full((len(x), 1), float(len(x)))], dim=1)


def encoder(fit, at_once=16):
    identity = EncoderIdentity(
        name="corner", layer="pixel", fit=fit, size=8, feature_size=4, weights="0" * 16
    )
    mean, scale = (100.0, 50.0, 0.0), (2.0, 4.0, 255.0)
    return NetworkEncoder(identity, Corner(), run_by_torch(Corner()), mean, scale, at_once)


@pytest.fixture
def halves():
    """Red at the left, lime at the right."""
    photo = Image.new("RGB", (16, 16), "red")
    photo.paste("lime", (8, 0, 16, 16))
    return photo


RED, LIME = [77.5, -12.5, 0], [-50, 51.25, 0]  # (255 - 100) / 2, (0 - 50) / 4, ...


def test_pixels_are_scaled_by_mean_and_scale(halves):
    pixels = encoder("squash").preprocess(halves)
    assert isinstance(encoder("squash"), Encoder)
    assert (pixels.shape, pixels.dtype) == ((1, 3, 8, 8), np.float32)
    assert pixels[0, :, 0, 0].tolist() == RED
    assert pixels[0, :, 0, 7].tolist() == LIME
    (padded,) = encoder("pad").preprocess(Image.new("RGB", (16, 8), "red"))
    assert padded[:, 0, 0].tolist() == [0, 0, 0]  # bars have the mean colour


def test_a_feature_is_the_mean_over_the_views(halves):
    flipped = encoder("squash-flip")
    pixels = flipped.preprocess(halves)
    assert pixels.shape == (2, 3, 8, 8)
    (feature,) = flipped.encode(pixels[None])
    np.testing.assert_allclose(feature[:3], np.mean([RED, LIME], axis=0))
    mirrored = flipped.preprocess(halves.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    np.testing.assert_allclose(flipped.encode(mirrored[None])[0], feature)


def test_ten_crops_of_several_photos_keep_to_their_photo():
    crops = encoder("ten-crop", at_once=7)
    colours = ["red", "lime", "blue"]
    pixels = np.stack([crops.preprocess(Image.new("RGB", (50, 40), c)) for c in colours])
    assert pixels.shape == (3, 10, 3, 8, 8)
    features = crops.encode(pixels)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[:, :3], pixels[:, 0, :, 0, 0])
    assert features[:, 3].max() == 7  # no more at once
