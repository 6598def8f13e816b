"""Encoder files hold what PyTorch computes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from mrnn.errors import CheckpointError, MissingExtraError, OptionsError
from mrnn.model.image_encoder import SHIPPED, load_encoder, open_encoder
from mrnn.training.encoders import export
from mrnn.training.encoders.efficientnet_lite import load_efficientnet_lite
from mrnn.training.encoders.efficientnet_lite_graph import efficientnet_lite_graph
from mrnn.training.encoders.encoder_file import (
    describe,
    quantize_initializers,
    strip,
    write_encoder,
)
from mrnn.training.encoders.export import export_encoder, load_headless
from mrnn.training.encoders.headless import HeadlessNetwork

SMALL = "timm:test_resnet"


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 64, 3)
        self.linear = nn.Linear(64, 40)

    def forward(self, x):
        return self.linear(self.convolution(x).relu().mean(dim=(2, 3)))


def headless(network, size=8):
    network = network.eval().requires_grad_(requires_grad=False)
    mean, scale = (100.0, 50.0, 0.0), (2.0, 4.0, 255.0)
    return HeadlessNetwork(network, "tiny", "mean", size, mean, scale)


@pytest.fixture
def tiny(monkeypatch):
    """A small network, known by the name `tiny`."""
    network = headless(Tiny())
    monkeypatch.setattr(export, "load_headless", lambda name, weights=None: network)
    return network


def photos(count, size):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def by_torch(network, pixels):
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    mean, scale = (torch.tensor(each)[:, None, None] for each in (network.mean, network.scale))
    with torch.inference_mode():
        return network.network((x - mean) / scale).numpy()


def by_onnx(model, network, pixels, tmp_path):
    strip(model)
    describe(model, network.name, "pooled", 64, 1280, network.mean)
    write_encoder(model, tmp_path / "model.onnx")
    session = open_encoder(tmp_path / "model.onnx", "squash").session
    return session.run({"pixels": pixels})[0]


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# Graphs


@pytest.mark.parametrize("variant", [0, 1, 2])
@pytest.mark.parametrize("size", [64, 65, 130, 225])
def test_efficientnet_lite_is_exact_at_any_size(tmp_path, variant, size):
    network = load_efficientnet_lite(variant)
    model = efficientnet_lite_graph(network)
    found = by_onnx(model, network, photos(2, size), tmp_path)
    np.testing.assert_allclose(found, by_torch(network, photos(2, size)), atol=2e-5)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_the_encoder_that_ships_is_that_of_pytorch(variant):
    network = load_efficientnet_lite(variant)
    name = f"efficientnet-lite{variant}"
    shipped = load_encoder(name)
    photo = Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50).convert("RGB")
    pixels = shipped.preprocess(photo)
    expected = by_torch(network, pixels[0])[0]
    assert relative_error(shipped.encode(pixels), expected) < 1e-3
    metadata = onnx.load(SHIPPED / f"{name}.onnx").metadata_props
    assert {each.key: each.value for each in metadata} == {
        "format": "1",
        "name": name,
        "layer": "pooled",
        "size": str(network.size),
        "feature_size": "1280",
        "mean": "[127.0, 127.0, 127.0]",
    }


# Files


def test_any_network_becomes_an_encoder_file(tiny, tmp_path):
    encoder = export_encoder("tiny", tmp_path / "new" / "tiny.onnx")
    assert (encoder.identity.name, encoder.identity.layer) == ("tiny", "mean")
    assert (encoder.identity.size, encoder.identity.feature_size) == (8, 40)
    assert encoder.padding == (100, 50, 0)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["tiny.onnx"]
    pixels = photos(1, 8)
    found = open_encoder(tmp_path / "new" / "tiny.onnx", "squash").encode((pixels,))
    assert relative_error(found, by_torch(tiny, pixels)[0]) < 1e-3


def test_the_same_network_gives_the_same_file(tiny, tmp_path):
    """And none that names the computer that made it."""
    one, other = (export_encoder("tiny", tmp_path / name / "tiny.onnx") for name in "ab")
    assert one.identity == other.identity
    content = (tmp_path / "a" / "tiny.onnx").read_bytes()
    assert b".py" not in content
    tiny.network.linear.bias[0] += 1e-3
    assert export_encoder("tiny", tmp_path / "tiny.onnx").identity.weights != one.identity.weights


def test_a_network_of_timm(small, tmp_path):
    _, weights = small
    encoder = export_encoder(SMALL, tmp_path / "small.onnx", weights)
    assert (encoder.identity.name, encoder.identity.size) == (SMALL, 160)
    again = load_encoder(SMALL, file=tmp_path / "small.onnx")
    assert again.identity == encoder.identity
    larger = export_encoder(f"{SMALL}@192", tmp_path / "larger.onnx", weights)
    assert (larger.identity.name, larger.identity.size) == (f"{SMALL}@192", 192)
    photo = Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50).convert("RGB")
    pixels = larger.preprocess(photo)
    assert pixels[0].shape == (1, 192, 192, 3)
    expected = by_torch(load_headless(SMALL, weights), pixels[0])[0]
    assert relative_error(larger.encode(pixels), expected) < 5e-3


def test_weights_lie_in_16_bits_with_a_scale_a_row():
    weight = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    weight[3] *= 1e-6
    weight[4] = 0
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[0], "bias")]
    graph = onnx.helper.make_graph([], "weights", [], [], tensors)
    model = onnx.helper.make_model(graph)
    quantize_initializers(model)
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert {name: values.dtype for name, values in found.items()} == {
        "w.int16": np.int16,
        "w.row_scale": np.float32,
        "bias": np.float32,
    }
    restored = found["w.int16"].astype(np.float32) * found["w.row_scale"]
    largest = np.abs(weight).max(axis=1, keepdims=True)
    assert (np.abs(restored - weight) <= largest / 65000).all()
    assert [node.op_type for node in model.graph.node] == ["Cast", "Mul"]


# What is refused


def test_names_that_cannot_be_exported(tmp_path):
    for name in ("vgg", "vgg16+alexnet", ""):
        with pytest.raises(
            OptionsError, match=r"cannot be exported; what can: efficientnet-lite0, .*, timm:NAME$"
        ):
            export_encoder(name, tmp_path / "a.onnx")
    with pytest.raises(OptionsError, match=r"^efficientnet-lite2 has its own weights: no --weigh"):
        export_encoder("efficientnet-lite2", tmp_path / "a.onnx", tmp_path / "x.pth")
    with pytest.raises(OptionsError, match=r"^efficientnet-lite2 takes squares of any size: expo"):
        export_encoder("efficientnet-lite2@320", tmp_path / "a.onnx")
    with pytest.raises(OptionsError, match=r"^vgg16@12: the size is a number of pixels, 64 to 102"):
        export_encoder("vgg16@12", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_are_not_replaced(tmp_path):
    file = tmp_path / "weights.pth"
    with pytest.raises(OptionsError, match=r"^--out \S+weights\.pth would replace --weights; "):
        export_encoder("vgg16", file, file)


def test_weights_of_another_network(small, tmp_path):
    with pytest.raises(CheckpointError, match=r"does not hold the weights of this network"):
        export_encoder("resnet50", tmp_path / "a.onnx", small[1])


def test_a_network_that_does_not_take_that_size():
    network = headless(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), size=9)
    with pytest.raises(
        OptionsError, match=r"^tiny does not take squares of 9 pixels \(.*\); leave out @9$"
    ):
        export.traced_graph(network)


def test_without_onnxscript(tiny, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'onnxscript'")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(
        MissingExtraError, match=r"^Exporting tiny needs onnxscript\. Run: pip install 'mrnn\[vis"
    ):
        export_encoder("tiny", tmp_path / "a.onnx")


class Fickle(Tiny):
    """Computes something else while it is exported."""

    def forward(self, x):
        if torch.compiler.is_exporting():
            x = x * 2
        return super().forward(x)


def test_an_export_that_differs_is_not_kept(tmp_path, monkeypatch):
    network = headless(Fickle())
    monkeypatch.setattr(export, "load_headless", lambda name, weights=None: network)
    with pytest.raises(OptionsError, match=r"^The export of tiny differs from PyTorch by \d+\.\d%"):
        export_encoder("tiny", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_file(tiny, tmp_path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"folder"):
        export_encoder("tiny", tmp_path / "folder" / "a.onnx")
