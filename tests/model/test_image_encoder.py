"""Encoder files: tiny ones made here, and those that ship."""

import hashlib

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from mrnn.errors import CheckpointError, ImageError, OptionsError
from mrnn.model import image_encoder
from mrnn.model.config import EncoderIdentity
from mrnn.model.image_encoder import (
    DEFAULT_ENCODER,
    ImageEncoder,
    JoinedEncoder,
    encode_finite,
    is_encoder,
    load_encoder,
    open_encoder,
    shipped_encoders,
)
from tests.model.tiny_encoder import write_colour_encoder

LITES = [f"efficientnet-lite{variant}" for variant in (0, 1, 2)]
TUNED = "efficientnet-lite2-captions"
DETECTOR = "ssd-mobilenet-v2"


@pytest.fixture
def photo():
    """Soft colours: 300 x 200."""
    small = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((300, 200), Image.Resampling.BICUBIC)


@pytest.fixture
def colour(tmp_path):
    return write_colour_encoder(tmp_path / "colour.onnx")


def encode(encoder, photo):
    return encoder.encode(encoder.preprocess(photo))


# One network


def test_the_identity_is_that_of_the_file(colour):
    encoder = load_encoder("colour", "pad", colour)
    assert isinstance(encoder, ImageEncoder)
    assert encoder.identity == EncoderIdentity(
        name="colour",
        layer="mean",
        resize_mode="pad",
        size=8,
        feature_size=7,
        weights=hashlib.sha256(colour.read_bytes()).hexdigest()[:16],
    )
    assert encoder.padding == (10, 20, 30)


def test_a_feature(colour):
    encoder = load_encoder("colour", "squash", colour)
    pixels = encoder.preprocess(Image.new("RGB", (20, 30), (255, 51, 0)))
    assert [(crops.shape, crops.dtype) for crops in pixels] == [((1, 8, 8, 3), np.uint8)]
    feature = encoder.encode(pixels)
    assert feature.dtype == np.float32
    np.testing.assert_allclose(feature, [1, 0.2, 0, 1, 0.04, 0, 1], atol=1e-6)


def test_bars_have_the_colour_that_normalisation_makes_zero(colour):
    (crops,) = load_encoder("colour", "pad", colour).preprocess(Image.new("RGB", (20, 10)))
    assert (crops[0, :2] == (10, 20, 30)).all()
    assert (crops[0, 2:6] == 0).all()


def test_a_feature_is_the_mean_over_the_crops(colour, photo):
    flipped = load_encoder("colour", "ten-crop", colour)
    pixels = flipped.preprocess(photo)
    assert pixels[0].shape == (10, 8, 8, 3)
    alone = [flipped.encode((crop[None],)) for crop in pixels[0]]
    np.testing.assert_allclose(flipped.encode(pixels), np.mean(alone, axis=0), rtol=1e-6)
    assert np.ptp(alone, axis=0).max() > 0.01


def test_without_a_name_it_is_that_of_the_file(colour):
    assert load_encoder(file=colour).identity.name == "colour"
    assert load_encoder().identity.name == DEFAULT_ENCODER


def test_another_size(colour):
    assert load_encoder("colour@64", file=colour).identity.size == 64
    encoder = load_encoder("colour@064", file=colour)
    assert encoder.identity.name == "colour@64"
    assert encoder.preprocess(Image.new("RGB", (9, 9)))[0].shape == (1, 64, 64, 3)


@pytest.mark.parametrize("size", ["", "big", "-5", "3.5", "12", "5000", "224@224"])
def test_a_size_that_is_none(colour, size):
    with pytest.raises(
        OptionsError, match=f"^colour@{size}: the size is a number of pixels, 64 to 1024$"
    ):
        load_encoder(f"colour@{size}", file=colour)


def test_a_file_of_one_size_only(tmp_path):
    file = write_colour_encoder(tmp_path / "a.onnx", takes=("B", 8, 8, 3))
    assert load_encoder("colour", file=file).identity.size == 8
    with pytest.raises(
        OptionsError,
        match=r"^The file of colour takes its own size only, 8 pixels: leave out @64, or export "
        r"colour@64$",
    ):
        load_encoder("colour@64", file=file)


def test_a_file_made_for_another_size_has_that_in_its_name(tmp_path):
    file = write_colour_encoder(
        tmp_path / "a.onnx", takes=("B", 96, 96, 3), name="colour@96", size="96"
    )
    assert load_encoder("colour@96", file=file).identity.name == "colour@96"
    with pytest.raises(CheckpointError, match=r"a\.onnx is the encoder colour@96, not colour; "):
        load_encoder("colour", file=file)


# Names


def test_names():
    assert shipped_encoders() == sorted([TUNED, *LITES, DETECTOR])
    default = [part.split("@")[0] for part in DEFAULT_ENCODER.split("+")]
    assert default == [*LITES[:2], TUNED, DETECTOR]
    with pytest.raises(
        OptionsError,
        match=r"^The package ships no encoder 'vgg16@320', only efficientnet-lite0, .*; make its "
        r"file with: mrnn export-encoder vgg16@320 --out FILE\.onnx, and give it by --encoder-file",
    ):
        load_encoder("vgg16@320")
    with pytest.raises(
        OptionsError,
        match=r"^The package ships no encoder 'vgg', only .*; files can be made of alexnet, .* and "
        r"timm:NAME$",
    ):
        load_encoder("vgg")
    with pytest.raises(OptionsError, match=r"^The package ships no encoder '', only"):
        load_encoder("efficientnet-lite0+")
    with pytest.raises(
        OptionsError,
        match=r"^--resize-mode 'stretch': the modes are crop, squash, pad, crop-flip, squash-flip, "
        r"pad-flip, ten-crop$",
    ):
        load_encoder(resize_mode="stretch")


def test_what_is_an_encoder():
    for name in (DEFAULT_ENCODER, "vgg16", "timm:resnet18@320", "resnet50+efficientnet-lite0"):
        assert is_encoder(name)
    for name in ("", "vgg", "vgg16+vgg", "detector"):
        assert not is_encoder(name)


def test_the_file_of_another_encoder(colour):
    with pytest.raises(
        CheckpointError,
        match=r"colour\.onnx is the encoder colour, not vgg16; give the file of vgg16 by --encoder",
    ):
        load_encoder("vgg16", file=colour)
    with pytest.raises(CheckpointError, match=r"is the encoder colour, not efficientnet-lite0; "):
        load_encoder("efficientnet-lite0", file=colour)


# Files that are none


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": TensorProto.FLOAT}, r"a\.onnx is no image encoder: it must turn uint8 pixels "),
        ({"takes": ("B", 3, "H", "W")}, r"\(B, 8, 8, 3\) into float32 features \(B, 7\); make it"),
        ({"takes": ("B", 9, 9, 3)}, "no image encoder"),
        ({"pixels": "image"}, "no image encoder"),
        ({"features": "logits"}, "no image encoder"),
        ({"feature_size": "6"}, "no image encoder"),
        (
            {"name": None},
            r"a\.onnx is an ONNX file, but no image encoder \(metadata name is missing",
        ),
        ({"name": "two\nlines"}, r"\(metadata name: expected text of the form "),
        ({"layer": ""}, r"\(metadata layer: expected text of the form "),
        ({"format": "2"}, r"\(metadata format: expected '1', not '2'\); make it with: mrnn"),
        ({"size": "big"}, r"\(metadata size: .*\); make it with: mrnn export-encoder NAME --out"),
        ({"mean": "grey"}, r"\(metadata not JSON \("),
        ({"mean": "[1, 2]"}, r"\(metadata mean\[2\] is missing"),
        ({"mean": "[1, 2, 300]"}, r"\(metadata mean\[2\]: expected less than or equal to 255, n"),
        ({"mean": "[1, 2, NaN]"}, r"\(metadata mean\[2\]: expected "),
        ({"size": "1000000"}, r"\(metadata size: expected less than or equal to 4096, not "),
        ({"feature_size": "0"}, r"\(metadata feature_size: expected greater than or equal to 1"),
    ],
)
def test_a_file_that_is_no_encoder(tmp_path, changes, message):
    file = write_colour_encoder(tmp_path / "a.onnx", **changes)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_encoder("colour", file=file)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value).replace(str(tmp_path), "")) < 300


def test_a_damaged_file(colour, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    for content in (b"", b"nonsense", colour.read_bytes()[:-200]):
        damaged.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"^\S+damaged\.onnx.*; make it with: mrnn expor"):
            open_encoder(damaged, "squash")
    with pytest.raises(CheckpointError, match=r"none\.onnx is missing; make it with: mrnn export"):
        open_encoder(tmp_path / "none.onnx", "squash")


def test_a_damaged_file_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(image_encoder, "SHIPPED", tmp_path)
    (tmp_path / "efficientnet-lite0.onnx").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"; reinstall mrnn: pip install --force-reinstall"):
        load_encoder("efficientnet-lite0")


# Several networks


def test_features_are_those_of_the_parts_end_to_end(tmp_path, photo, monkeypatch):
    monkeypatch.setattr(image_encoder, "SHIPPED", tmp_path)
    write_colour_encoder(tmp_path / "a.onnx", name="a")
    write_colour_encoder(tmp_path / "b.onnx", name="b", size="12", layer="top")
    for mode in ("squash", "ten-crop"):
        joined = load_encoder("b+a", mode)
        assert isinstance(joined, ImageEncoder)
        expected = [encode(load_encoder(name, mode), photo) for name in ("b", "a")]
        np.testing.assert_array_equal(encode(joined, photo), np.concatenate(expected))
    a, b = (load_encoder(name, "ten-crop").identity for name in "ab")
    assert joined.identity == EncoderIdentity(
        name="b+a",
        layer="top+mean",
        resize_mode="ten-crop",
        size=12,
        feature_size=14,
        weights=f"{b.weights}+{a.weights}",
    )


def test_parts_of_one_size_share_their_crops(tmp_path, photo):
    file = write_colour_encoder(tmp_path / "a.onnx")
    bright = write_colour_encoder(tmp_path / "b.onnx", mean="[255, 255, 255]")
    parts = [open_encoder(each, "pad") for each in (file, file, bright)]
    one, same, other = JoinedEncoder(parts).preprocess(photo)
    assert one is same
    assert (one[0, 0] == (10, 20, 30)).all()
    assert (other[0, 0] == 255).all()


def test_a_file_may_be_one_of_the_parts(colour):
    joined = load_encoder("efficientnet-lite0@64+colour", file=colour)
    assert joined.identity.feature_size == 1287
    with pytest.raises(OptionsError, match=r"^The package ships no encoder 'vgg', only "):
        load_encoder("colour+vgg", file=colour)


# Those that ship


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_encoders_that_ship(variant, photo):
    name, size = LITES[variant], (224, 240, 260)[variant]
    own, larger = load_encoder(name), load_encoder(f"{name}@320")
    assert (own.identity.name, own.identity.layer, own.identity.size) == (name, "pooled", size)
    assert own.padding == (127, 127, 127)
    assert (larger.identity.name, larger.identity.size) == (f"{name}@320", 320)
    assert larger.identity.weights == own.identity.weights
    feature, other = encode(own, photo), encode(larger, photo)
    assert feature.shape == other.shape == (1280,)
    assert 0 <= feature.min() < feature.max() <= 6  # after ReLU6
    similarity = feature @ other / np.linalg.norm(feature) / np.linalg.norm(other)
    assert 0.5 < similarity < 0.9999


def test_features_do_not_depend_on_the_number_of_threads(photo, monkeypatch):
    features = []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        encoder = load_encoder("efficientnet-lite0@97+efficientnet-lite1@64", "squash-flip")
        features.append(encode(encoder, photo))
    np.testing.assert_array_equal(features[1], features[0])
    np.testing.assert_array_equal(features[2], features[0])


def test_a_feature_that_is_not_finite_names_the_photo_and_the_encoder(colour):
    encoder = open_encoder(colour, "pad")
    pixels = encoder.preprocess(Image.new("RGB", (8, 8)))
    with pytest.raises(ImageError, match=r"^dog\.jpg: its feature is not finite.* colour$"):
        encode_finite(encoder, pixels, "dog.jpg")


def test_a_finite_feature_is_the_encoders_own(colour, photo):
    encoder = open_encoder(colour, "pad")
    pixels = encoder.preprocess(photo)
    np.testing.assert_array_equal(encode_finite(encoder, pixels, "dog.jpg"), encoder.encode(pixels))
