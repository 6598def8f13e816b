"""export-encoder, and what extract does for an encoder that the package does not ship."""

import sys

import pytest

from mrnn.data.features import load_features
from mrnn.model.image_encoder import load_encoder, open_encoder
from mrnn.training.encoders import export
from tests.model.tiny_encoder import write_colour_encoder


@pytest.fixture
def exports(monkeypatch):
    """In place of PyTorch's export: a tiny file; and what was asked for."""
    asked = []

    def write(name, file, weights=None):
        asked.append((name, weights))
        file.parent.mkdir(parents=True, exist_ok=True)
        return open_encoder(write_colour_encoder(file, name=name), "squash")

    monkeypatch.setattr(export, "export_encoder", write)
    return asked


def test_an_encoder_is_exported(mrnn, exports, tmp_path):
    file, weights = tmp_path / "vgg16.onnx", tmp_path / "vgg16.pth"
    code, out, err = mrnn("export-encoder", "vgg16", "--out", file, "--weights", weights)
    assert (code, out) == (0, "")
    assert exports == [("vgg16", weights)]
    assert err.splitlines() == [
        "Exporting vgg16",
        f"Wrote {file}: vgg16 (mean, 8 px), 7 values a photo, 0.0 MB",
        f"Next: mrnn extract DATA --encoder vgg16 --encoder-file {file}",
    ]


def test_without_pytorch(mrnn, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mrnn.training.encoders.export", None)
    code, out, err = mrnn("export-encoder", "vgg16", "--out", tmp_path / "a.onnx")
    told = "mrnn: Exporting vgg16 needs PyTorch. Run: pip install 'mrnn[vision]'\n"
    assert (code, out, err) == (1, "", told)


def test_extract_exports_once_into_the_dataset_folder(mrnn, colours, exports):
    file = colours.features_folder / "timm-small.onnx"
    extract = ("extract", colours.folder, "--encoder", "timm:small")
    code, out, err = mrnn(*extract)
    assert code == 0
    assert out.endswith(": 30 features of timm:small (mean, squash, 8 px, weights "
                        f"{open_encoder(file, 'squash').identity.weights})\n")  # fmt: skip
    assert f"captions photos with: --encoder-file {file}\n" in err
    code, again, err = mrnn(*extract)
    assert (code, again, len(exports)) == (0, out, 1)
    assert "Exporting" not in err
    code, _, _ = mrnn(*extract, "--weights", "small.pth")
    assert (code, len(exports)) == (0, 2)


def test_extract_takes_a_file(mrnn, colours, exports, tmp_path):
    file = write_colour_encoder(tmp_path / "mine.onnx", name="mine")
    code, out, _ = mrnn(
        "extract", colours.folder, "--encoder", "mine@64", "--encoder-file", file,
        "--resize-mode", "pad",
    )  # fmt: skip
    assert code == 0
    assert " 30 features of mine@64 (mean, pad, 64 px, " in out
    code, out, _ = mrnn("extract", colours.folder, "--encoder-file", file)
    assert (code, " 30 features of mine (mean, squash, 8 px, " in out) == (0, True)
    assert not exports
    identity = load_encoder("mine@64", "pad", file).identity
    assert len(load_features(colours, identity)) == 30


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--encoder", "vgg16", "--encoder-file", "a.onnx", "--weights", "a.pth"),
            "--encoder-file holds the encoder's weights: no --weights beside it",
        ),
        (
            ("--weights", "a.pth", "--encoder", "efficientnet-lite0@320"),
            "--weights are of one encoder that the package does not ship, not "
            "efficientnet-lite0@320",
        ),
        (
            ("--weights", "a.pth", "--encoder", "vgg16+alexnet"),
            "--weights are of one encoder that the package does not ship, not vgg16+alexnet",
        ),
        (
            ("--from", "a.npy", "--encoder-file", "a.onnx"),
            "--encoder, --resize-mode, --encoder-file and --weights do not go with --from",
        ),
    ],
)
def test_flags_that_do_not_go_together(mrnn, colours, exports, flags, message):
    code, out, err = mrnn("extract", colours.folder, *flags)
    assert (code, out, err) == (1, "", f"mrnn: {message}\n")
    assert not exports
