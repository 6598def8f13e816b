"""Without downloads: the weights are drawn at random and saved, then read as anybody's."""

import sys
from importlib.util import find_spec

import pytest
import torch

from mrnn.errors import CheckpointError, MissingExtraError, OptionsError
from mrnn.model.image_encoder import EXPORTABLE
from mrnn.training.encoders import pretrained
from mrnn.training.encoders.pretrained import LAYERS, _torchvision, load_pretrained

if find_spec("timm") is None or find_spec("torchvision") is None:
    pytest.skip("needs the extra `vision`", allow_module_level=True)


def noise(count, size):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def expected_layer(models, name, pixels):
    """What the whole network of torchvision gives to its last layer."""
    torch.manual_seed(0)
    network = models.get_model(name, weights=None).eval()
    seen = []
    last = network.fc if name.startswith("resnet") else network.classifier[-1]
    last.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.inference_mode():
        network(pixels)
    return network, seen[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size"), [("alexnet", "fc7", 4096), ("resnet50", "pool5", 2048)]
)
def test_features_are_what_the_classifier_gets(torchvision, tmp_path, name, layer, size):
    pixels = noise(2, 224)
    network, expected = expected_layer(torchvision.models, name, pixels)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    headless = load_pretrained(name, tmp_path / "weights.pth")
    assert (headless.name, headless.layer, headless.size) == (name, layer, 224)
    features = headless.network(pixels)
    assert features.shape == (2, size)
    assert features.min() >= 0  # after ReLU
    torch.testing.assert_close(features, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_every_network_is_cut_before_its_classifier(torchvision, name):
    """On PyTorch's meta device, which has shapes and no numbers."""
    found = _torchvision(name)
    with torch.device("meta"):
        features = found.network.eval()(torch.empty(1, 3, 224, 224))
    assert features.shape == (1, 4096 if LAYERS[name] == "fc7" else 2048)
    assert {shape.rpartition(".")[2] for shape in found.head} == {"weight", "bias"}
    if LAYERS[name] == "fc7":
        kinds = [type(layer).__name__ for layer in found.network.classifier]
        assert kinds.count("Linear") == 2
        assert kinds[[i for i, kind in enumerate(kinds) if kind == "Linear"][1] + 1] == "ReLU"
    assert found.url.startswith("https://download.pytorch.org/models/" + name)


def test_a_network_of_timm(small):
    network, file = small
    headless = load_pretrained("timm:test_resnet", file)
    assert (headless.layer, headless.size) == ("pooled", 160)
    pixels = noise(3, 160)
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(headless.network(pixels), expected)
    config = network.pretrained_cfg
    assert headless.mean == tuple(255 * value for value in config["mean"])
    assert headless.scale == tuple(255 * value for value in config["std"])


# Weights and names


def test_the_names_that_the_runtime_knows():
    assert tuple(LAYERS) == EXPORTABLE


def test_weights_of_another_network_are_refused(small):
    with pytest.raises(CheckpointError, match=r"does not hold the weights of this network: it la"):
        load_pretrained("resnet50", small[1])


def test_networks_that_timm_does_not_have(torchvision):
    with pytest.raises(
        OptionsError, match=r"^timm has no network 'resnet181'; near it are resnet18\w*, "
    ):
        load_pretrained("timm:resnet181")
    with pytest.raises(OptionsError, match=r"^timm:test_resnet\.x: Invalid pretrained tag"):
        load_pretrained("timm:test_resnet.x")


def test_a_network_that_does_not_see_squares(torchvision):
    with pytest.raises(OptionsError, match=r"sapiens2 sees \d+ x \d+ pixels; only squares will"):
        load_pretrained("timm:vit_base_patch16_sapiens2")


@pytest.mark.parametrize("name", ["vgg16", "timm:test_resnet"])
def test_without_the_extra(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        MissingExtraError,
        match=rf"^Exporting {name} needs torchvision and timm\. Run: pip install 'mrnn\[vision\]'$",
    ):
        load_pretrained(name)


@pytest.mark.parametrize("name", ["vgg16", "timm:test_resnet"])
def test_a_torchvision_for_another_torch(name, monkeypatch):
    def fail(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(pretrained, "import_module", fail)
    with pytest.raises(
        OptionsError,
        match=r"^torchvision was not made for the torch that is installed \(operator torchvision::"
        r"nms does not exist\); install both again from one index: pip install --force-",
    ):
        load_pretrained(name)
