"""`mrnn fine-tune`."""

import pytest
from PIL import Image

from mrnn.model.image_encoder import open_encoder

COLOURS = ("red", "green", "blue", "white", "black", "orange")


@pytest.fixture
def data(mrnn, tmp_path):
    """A dataset of a dozen photos, four of them to train on when two are held out."""
    photos = tmp_path / "photos"
    photos.mkdir()
    lines = []
    for number, colour in enumerate(COLOURS * 2):
        Image.new("RGB", (70, 66), colour).save(photos / f"{number}.png")
        lines += [f"{number}.png\ta {colour} wall", f"{number}.png\tone wall in {colour}"]
    (tmp_path / "captions.tsv").write_text("image\tcaption\n" + "\n".join(lines) + "\n")
    code, _, err = mrnn(
        "prepare", "table", tmp_path / "captions.tsv", "--images", photos,
        "--out", tmp_path / "data", "--fractions", "0.5", "0.25", "0.25",
    )  # fmt: skip
    assert code == 0, err
    return tmp_path / "data"


def fine_tune(mrnn, data, encoder, out, *more):
    return mrnn(
        "fine-tune", data, "--encoder", encoder, "--out", out, "--epochs", "1", "--held-out", "2",
        *more,
    )  # fmt: skip


def test_a_file_and_what_to_do_next(mrnn, data, tmp_path):
    file = tmp_path / "new" / "walls.onnx"
    code, out, err = fine_tune(mrnn, data, "efficientnet-lite0@64", file)
    assert code == 0, err
    assert out == f"{file}: walls@64 (pooled, 64 px), tuned on 4 photos\n"
    assert "epoch 1  loss: CIDEr vectors" in err
    following = f"mrnn extract {data} --encoder walls@64 --encoder-file {file}"
    assert err.endswith(f"Next: {following}\n")
    assert mrnn(*following.split()[1:])[0] == 0  # at the size that it was tuned for
    assert open_encoder(file, "squash").identity.name == "walls"


def test_a_file_that_is_there_stays(mrnn, data, tmp_path):
    file = tmp_path / "walls.onnx"
    file.write_bytes(b"mine")
    code, _, err = fine_tune(mrnn, data, "efficientnet-lite0@64", file)
    assert code == 1
    assert "exists and is not an earlier output" in err
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        ("vgg16", "--encoder 'vgg16' cannot be fine-tuned; what can: efficientnet-lite0, 1 or 2"),
        ("efficientnet-lite0@big", "the size is a number of pixels, 64 to 1024"),
    ],
)
def test_another_encoder(mrnn, data, tmp_path, encoder, told):
    code, out, err = fine_tune(mrnn, data, encoder, tmp_path / "walls.onnx")
    assert (code, out) == (1, "")
    assert (len(err.splitlines()), told in err) == (1, True)
    assert not (tmp_path / "walls.onnx").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my walls.onnx", "its name becomes the encoder's, so it may have letters"),
        ("walls@288.onnx", "its name becomes the encoder's"),
        ("efficientnet-lite2.onnx", "the package ships an encoder of that name; choose another"),
    ],
)
def test_name_of_the_new_encoder(mrnn, data, tmp_path, name, told):
    code, _, err = fine_tune(mrnn, data, "efficientnet-lite0@64", tmp_path / name)
    assert code == 1
    assert (len(err.splitlines()), told in err) == (1, True)


def test_more_held_out_than_there_are(mrnn, data, tmp_path):
    code, _, err = mrnn(
        "fine-tune", data, "--encoder", "efficientnet-lite0", "--out", tmp_path / "walls.onnx"
    )
    told = "mrnn: --held-out 300 leaves no photo to train on of 6; lower it"
    assert (code, err.splitlines()[-1]) == (1, told)


def test_without_pytorch(mrnn, monkeypatch, data, tmp_path):
    monkeypatch.setattr("mrnn.cli.terminal.find_spec", lambda _: None)
    code, _, err = fine_tune(mrnn, data, "efficientnet-lite0@64", tmp_path / "walls.onnx")
    assert (code, err) == (1, "mrnn: Fine-tuning needs PyTorch. Run: pip install 'mrnn[train]'\n")
