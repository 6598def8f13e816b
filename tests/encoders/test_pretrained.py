"""Without the network: the weights are drawn at random and saved, then read as anybody's."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mrnn.encoders import PRETRAINED, load_encoder
from mrnn.encoders.pretrained import _import_torchvision, _torchvision
from mrnn.errors import CheckpointError, OptionsError

pytestmark = pytest.mark.usefixtures("torchvision")
SMALL = "timm:test_resnet"


@pytest.fixture(scope="module")
def models(torchvision):
    return torchvision.models


@pytest.fixture(scope="module")
def small(torchvision, tmp_path_factory):
    """timm's network for tests, with its weights in a file."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet").eval()
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(network.state_dict(), file)
    return network, file


def noise(count, size):
    return np.random.default_rng(0).standard_normal((count, 3, size, size), dtype=np.float32)


# The layers


def expected_layer(models, name, pixels):
    """What the whole network of torchvision gives to its last layer."""
    torch.manual_seed(0)
    network = models.get_model(name, weights=None).eval()
    seen = []
    last = network.fc if name.startswith("resnet") else network.classifier[-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.inference_mode():
        network(torch.from_numpy(pixels))
    return network, seen[0].numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size"), [("alexnet", "fc7", 4096), ("resnet50", "pool5", 2048)]
)
def test_features_are_what_the_classifier_gets(models, tmp_path, name, layer, size):
    pixels = noise(2, 224)
    network, expected = expected_layer(models, name, pixels)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    encoder = load_encoder(name, weights=tmp_path / "weights.pth")
    identity = encoder.identity
    assert (identity.name, identity.layer, identity.fit) == (name, layer, "squash")
    assert (identity.size, identity.feature_size) == (224, size)
    features = encoder.encode(pixels[:, None])
    assert features.shape == (2, size)
    assert features.min() >= 0  # after ReLU
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", PRETRAINED)
def test_every_network_is_cut_before_its_classifier(models, name):
    """On PyTorch's meta device, which has shapes and no numbers."""
    found = _torchvision(name)
    with torch.device("meta"):
        features = found.network.eval()(torch.empty(1, 3, 224, 224))
    assert features.shape == (1, 4096 if PRETRAINED[name] == "fc7" else 2048)
    assert {shape.rpartition(".")[2] for shape in found.head} == {"weight", "bias"}
    if PRETRAINED[name] == "fc7":
        kinds = [type(layer).__name__ for layer in found.network.classifier]
        assert kinds.count("Linear") == 2
        assert kinds[[i for i, kind in enumerate(kinds) if kind == "Linear"][1] + 1] == "ReLU"
    assert found.url.startswith("https://download.pytorch.org/models/" + name)


def test_a_network_of_timm(small):
    network, file = small
    encoder = load_encoder(SMALL, "squash-flip", weights=file)
    assert (encoder.identity.layer, encoder.identity.size) == ("pooled", 160)
    pixels = noise(3, 160)
    with torch.inference_mode():
        expected = network.forward_head(
            network.forward_features(torch.from_numpy(pixels)), pre_logits=True
        )
    assert encoder.identity.feature_size == expected.shape[1]
    features = encoder.encode(pixels[:, None])
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_pixels_are_as_the_network_was_trained_on(small):
    encoder = load_encoder(SMALL, weights=small[1])
    pixels = encoder.preprocess(Image.new("RGB", (200, 100), (124, 0, 255)))
    assert pixels.shape == (1, 3, 160, 160)
    config = small[0].pretrained_cfg
    expected = (np.array([124 / 255, 0, 1]) - config["mean"]) / config["std"]
    np.testing.assert_allclose(pixels.mean(axis=(0, 2, 3)), expected, atol=1e-4)


def test_features_do_not_depend_on_the_batch(small):
    encoder = load_encoder(SMALL, weights=small[1])
    pixels = noise(5, 160)[:, None]
    alone = np.concatenate([encoder.encode(one[None]) for one in pixels])
    np.testing.assert_allclose(encoder.encode(pixels), alone, rtol=1e-4, atol=1e-5)


# Weights and names


def test_identity_is_of_the_weights_not_of_their_file(small, tmp_path):
    network, file = small
    state = network.state_dict()
    torch.save({n: t for n, t in state.items() if n[:2] != "fc"}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"")
    same = load_encoder(SMALL, weights=tmp_path / "a.pth").identity
    assert same == load_encoder(SMALL, weights=file).identity
    state["conv1.0.weight" if "conv1.0.weight" in state else next(iter(state))] += 1e-3
    torch.save(state, tmp_path / "b.pth")
    assert load_encoder(SMALL, weights=tmp_path / "b.pth").identity.weights != same.weights


def test_weights_of_another_network_are_refused(small, models, tmp_path):
    with pytest.raises(CheckpointError, match=r"does not hold the weights of this network: it la"):
        load_encoder("resnet50", weights=small[1])


def test_networks_that_timm_does_not_have():
    with pytest.raises(
        OptionsError, match=r"^timm has no network 'resnet181'; near it are resnet18\w*, "
    ):
        load_encoder("timm:resnet181")
    with pytest.raises(OptionsError, match=r"^timm:test_resnet\.x: Invalid pretrained tag"):
        load_encoder("timm:test_resnet.x")


def test_a_network_that_does_not_see_squares():
    with pytest.raises(OptionsError, match=r"sapiens2 sees \d+ x \d+ pixels; only squares will"):
        load_encoder("timm:vit_base_patch16_sapiens2")


@pytest.mark.parametrize("name", ["vgg16", SMALL])
def test_without_the_extra(name, monkeypatch):
    _import_torchvision.cache_clear()
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        OptionsError, match=rf"^The encoder {name} needs: pip install 'mrnn\[vision\]'$"
    ):
        load_encoder(name)
    _import_torchvision.cache_clear()
