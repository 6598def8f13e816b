"""`mrnn export-encoder`."""

import sys


def test_an_encoder_is_exported(mrnn, exports, tmp_path):
    file, weights = tmp_path / "vgg16.onnx", tmp_path / "vgg16.pth"
    code, out, err = mrnn("export-encoder", "vgg16", "--out", file, "--weights", weights)
    assert (code, out) == (0, "")
    assert exports == [("vgg16", weights)]
    assert err.splitlines() == [
        "Exporting vgg16",
        f"Wrote {file}: vgg16 (mean, 8 px), 7 values a photo, 519 bytes",
        f"Next: mrnn extract DATA --encoder vgg16 --encoder-file {file}",
    ]


def test_without_pytorch(mrnn, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mrnn.training.encoders.export", None)
    code, out, err = mrnn("export-encoder", "vgg16", "--out", tmp_path / "a.onnx")
    told = "mrnn: Exporting vgg16 needs PyTorch. Run: pip install 'mrnn[vision]'\n"
    assert (code, out, err) == (1, "", told)


def test_a_file_that_is_there_stays(mrnn, exports, tmp_path):
    out = tmp_path / "a.onnx"
    out.write_bytes(b"mine")
    code, _, err = mrnn("export-encoder", "vgg16", "--out", out)
    assert code == 1
    assert "exists and is not an earlier output" in err
    assert out.read_bytes() == b"mine"
    assert mrnn("export-encoder", "vgg16", "--out", out, "--overwrite")[0] == 0
