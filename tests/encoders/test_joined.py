import numpy as np
import pytest
from PIL import Image

from mrnn.encoders import ENCODERS, Encoder, load_encoder
from mrnn.encoders.joined import JoinedEncoder
from mrnn.errors import OptionsError
from mrnn.model.config import EncoderIdentity
from tests.conftest import ColourEncoder


class Corners:
    """A fake, 4 pixels wide: the mean of all values, and the last of the red ones."""

    identity = EncoderIdentity(
        name="corners", layer="top", fit="squash", size=4, feature_size=2, weights="1" * 16
    )

    def preprocess(self, photo):
        square = np.asarray(photo.resize((4, 4)), dtype=np.float32).transpose(2, 0, 1)
        return square[None]

    def encode(self, pixels):
        assert pixels.shape[1:] == (1, 3, 4, 4)
        return np.stack([pixels.mean(axis=(1, 2, 3, 4)), pixels[:, 0, 0, 3, 3]], axis=1)


@pytest.fixture
def photos():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8)) for _ in range(3)]


def encode(encoder, photos):
    return encoder.encode(np.stack([encoder.preprocess(photo) for photo in photos]))


@pytest.mark.parametrize("order", [1, -1])
def test_features_are_those_of_the_parts_end_to_end(photos, order):
    parts = [ColourEncoder(), Corners()][::order]
    joined = JoinedEncoder(parts)
    assert isinstance(joined, Encoder)
    expected = np.concatenate([encode(part, photos) for part in parts], axis=1)
    np.testing.assert_allclose(encode(joined, photos), expected, rtol=1e-5)


def test_identity_tells_all_parts():
    assert JoinedEncoder([ColourEncoder(), Corners()]).identity == EncoderIdentity(
        name="colour+corners",
        layer="mean+top",
        fit="squash",
        size=8,
        feature_size=9,
        weights="0" * 16 + "+" + "1" * 16,
    )


def test_a_joint_name_loads_its_parts(monkeypatch, tmp_path):
    monkeypatch.setitem(ENCODERS, "corners", lambda fit: Corners())
    monkeypatch.setitem(ENCODERS, "colour", lambda fit: ColourEncoder())
    assert load_encoder("corners+colour").identity.feature_size == 9
    with pytest.raises(OptionsError, match=r"^There is no encoder 'corners\+vgg'; .* NAME\+NAME$"):
        load_encoder("corners+vgg")
    with pytest.raises(OptionsError, match=r"^corners\+colour are several encoders: no --weights"):
        load_encoder("corners+colour", weights=tmp_path)


def test_two_real_encoders_see_what_each_sees_alone(photos):
    joined = load_encoder("efficientnet-lite0+efficientnet-lite1")
    alone = [load_encoder(f"efficientnet-lite{variant}") for variant in (0, 1)]
    expected = np.concatenate([encode(part, photos[:1]) for part in alone], axis=1)
    np.testing.assert_allclose(encode(joined, photos[:1]), expected, rtol=1e-4, atol=1e-5)
