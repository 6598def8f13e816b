import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mrnn.errors import CheckpointError
from mrnn.training.encoders.weights import download_weights, fill, read_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def state(network):
    return {**network.state_dict(), "head.weight": torch.ones(2, 4)}


HEAD = frozenset({"head.weight"})


def empty():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("kind", ["pth", "old pth", "wrapped pth", "safetensors", "half"])
def test_the_same_weights_in_whatever_file(network, state, tmp_path, kind):
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "half":  # exactly representable, so that nothing is lost
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        for parameter in network.parameters():
            parameter.data = parameter.data.half().float()
        state = {n: t.half() for n, t in network.state_dict().items()}
    match kind:
        case "safetensors":
            save_file(state, file)
        case "wrapped pth":
            torch.save({"state_dict": state, "epoch": 3}, file)
        case _:
            torch.save(state, file, _use_new_zipfile_serialization=kind != "old pth")
    filled = empty()
    fill(filled, read_weights(file), HEAD, file)
    pixels = torch.ones(1, 3, 5, 5)
    assert torch.equal(filled.eval()(pixels), network.eval()(pixels))


def test_old_files_do_not_count_training_steps(network, state, tmp_path):
    del state["1.num_batches_tracked"]
    filled = empty()
    fill(filled, state, HEAD, Path("x.pth"))
    pixels = torch.ones(1, 3, 5, 5)
    assert torch.equal(filled.eval()(pixels), network.eval()(pixels))


class Trap:
    def __reduce__(self):
        return (os.system, ("touch sprung",))


def test_code_in_a_file_is_refused_and_not_run(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({**state, "trap": Trap()}, "trap.pth")
    with pytest.raises(CheckpointError, match=r"^trap\.pth: not a file of weights, or one that"):
        read_weights(Path("trap.pth"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.pth", None, r"No such file or directory; check --weights$"),
        ("folder.pth", ..., r"a folder or a device, not a file; check --weights$"),
        ("a.pth", b"", r"damaged, or no file of weights \("),
        ("a.pth", b"nonsense", r"not a file of weights, or one that holds more than tensors"),
        ("a.pth", "cut", r"damaged, or no file of weights \("),
        ("a.safetensors", b"nonsense", r"damaged, or no file of weights \("),
        ("a.pth", [1, 2], r"not a state dict; save model\.state_dict\(\) into it$"),
        ("a.pth", {"a": 1}, r"not a state dict; save"),
        (
            "a.pth",
            {"a": torch.ones(1), "b": torch.ones(2) * 1j},
            r": b holds torch\.complex64; save real numbers$",
        ),
    ],
)
def test_other_files(state, tmp_path, name, content, message):
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is ...:
        file.mkdir()
    elif content == "cut":
        torch.save(state, file)
        file.write_bytes(file.read_bytes()[:-400])
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_weights(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_weights_of_another_network(state):
    def refused(tensors, message):
        with pytest.raises(CheckpointError, match=rf"^x\.pth.*{message}"):
            fill(empty(), tensors, HEAD, Path("x.pth"))

    without = {name: tensor for name, tensor in state.items() if name[0] != "0"}
    refused(without, r"this network: it lacks 0\.weight and 1 more$")
    refused(state | {"2.weight": torch.ones(1)}, r"2\.weight is none of its tensors$")
    refused(state | {"0.bias": torch.ones(5)}, r"0\.bias has shape \(5,\), not \(4,\)$")
    refused(state | {"0.bias": torch.full((4,), torch.nan)}, r"0\.bias holds values that are not")


# Downloads, from a folder in place of the network


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Where PyTorch keeps what it downloads."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_a_download_is_kept(state, tmp_path, home):
    torch.save(state, tmp_path / "net.pth")
    url = (tmp_path / "net.pth").as_uri()
    file = download_weights("net", url, "net.pth")
    assert file == home / "net.pth"
    assert read_weights(file).keys() == state.keys()
    (tmp_path / "net.pth").unlink()
    assert download_weights("net", url, "net.pth") == file


def test_a_download_that_fails_says_how_to_give_a_file(tmp_path, home):
    url = (tmp_path / "net-0123abcd.pth").as_uri()
    with pytest.raises(
        CheckpointError,
        match=r"^The weights of net cannot be downloaded \(.*No such file.*\)\. Get file://.*/"
        r"net-0123abcd\.pth where there is a network, and give the file by --weights, as in: "
        r"mrnn export-encoder net --out FILE\.onnx --weights net-0123abcd\.pth$",
    ):
        download_weights("net", url, "net-0123abcd.pth")


def test_a_download_of_another_file_than_its_name_says_is_thrown_away(state, tmp_path, home):
    torch.save(state, tmp_path / "net-0123abcd.pth")
    url = (tmp_path / "net-0123abcd.pth").as_uri()
    with pytest.raises(CheckpointError, match=r"cannot be downloaded \(invalid hash value"):
        download_weights("net", url, "net-0123abcd.pth")
    assert list(home.iterdir()) == []


def test_weights_that_nobody_offers(home):
    with pytest.raises(CheckpointError, match=r"^There are no weights of net to download; give a"):
        download_weights("net", None, "net.pth")
