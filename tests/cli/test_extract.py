"""`mrnn extract`, of encoders that ship, that do not, and of features made elsewhere."""

import numpy as np
import pytest

from mrnn.data.dataset import Dataset
from mrnn.data.features import features_folder, load_features
from mrnn.model.image_encoder import load_encoder, open_encoder
from tests.model.tiny_encoder import write_colour_encoder


def test_extract_exports_once_into_the_dataset_folder(mrnn, colours, exports):
    file = colours.features_folder / "timm-small.onnx"
    extract = ("extract", colours.folder, "--encoder", "timm:small")
    code, out, err = mrnn(*extract)
    assert code == 0
    assert out.endswith(f": 30 features of {open_encoder(file, 'squash').identity}\n")
    assert f": --encoder-file {file}\n" in err
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


def test_features_made_elsewhere_train_and_are_measured_but_see_no_photo(
    mrnn, dataset, recipe, tmp_path
):
    images = Dataset.load(dataset).images
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random((len(images) + 1, 5)))
    (tmp_path / "ids.txt").write_text("\n".join([*(i.name for i in images), "other"]))
    given = ("--from", tmp_path / "f.npy", "--ids", tmp_path / "ids.txt", "--name", "mine")
    code, out, err = mrnn("extract", dataset, *given)
    folder = dataset / "features" / "mine-imported"
    assert (code, out) == (0, f"{folder}: 30 features of mine (imported, 5 values)\n")
    assert err == f"1 row belongs to no photo of {dataset}, as other\n"
    run = tmp_path / "run"
    changes = ("--set", "encoder.name=mine", "--set", "training.epochs=1")
    assert mrnn("train", recipe, "--data", dataset, "--out", run, *changes)[0] == 0
    code, out, _ = mrnn("evaluate", run, "--data", dataset, "--split", "dev")
    assert code == 0
    assert "mine (imported, 5 values)" in out
    code, out, err = mrnn("caption", images[0].path, "--model", run)
    assert (code, out) == (1, "")
    none = "mrnn: There is no encoder for photos: the model takes features of mine"
    assert err.startswith(none)
    code, out, err = mrnn("embed", images[0].path, "--model", run, "--out", tmp_path / "vectors")
    assert (code, out) == (1, "")
    assert err.startswith(none)


def test_broken_photos_are_named_and_the_others_done(mrnn, colours, colour_encoder, tmp_path):
    extract = ("extract", colours.folder, "--encoder", "colour")
    for image in colours.images[3], colours.images[25]:
        image.path.write_bytes(b"dust")
    folder = features_folder(colours, colour_encoder.identity)
    code, out, err = mrnn(*extract)
    assert (code, out) == (1, f"{folder}: 28 features of {colour_encoder.identity}\n")
    assert err.splitlines()[-1] == (
        "mrnn: 2 of 30 photos have no feature; mend them, or leave them out by --skip-broken. "
        "--broken FILE lists them"
    )
    code, _, err = mrnn(*extract, "--skip-broken", "--broken", tmp_path / "broken.txt")
    assert code == 0
    assert err.splitlines()[-1] == (
        f"2 images are no more in {colours.folder}, which has 28 now; once they are mended, mrnn "
        "prepare takes them in again"
    )
    _, *names = (tmp_path / "broken.txt").read_text().splitlines()
    assert names == ["train-03-red.png", "dev-01-green.png"]
    left = Dataset.load(colours.folder)
    assert left.images == tuple(image for image in colours.images if image.name not in names)
    assert len(load_features(left, colour_encoder.identity)) == 28
    assert mrnn(*extract)[0] == 0


def test_a_dataset_of_broken_photos_alone_stays(mrnn, colours, colour_encoder):
    for image in colours.images:
        image.path.write_bytes(b"dust")
    code, _, err = mrnn("extract", colours.folder, "--encoder", "colour", "--skip-broken")
    assert code == 1
    assert err.splitlines()[-1].startswith("mrnn: test: no captioned images, so there is no datas")
    assert len(Dataset.load(colours.folder).images) == 30


def test_photos_that_are_away_keep_their_features(mrnn, colours, colour_encoder):
    extract = ("extract", colours.folder, "--encoder", "colour")
    assert mrnn(*extract)[0] == 0
    colours.images[3].path.unlink()
    code, out, err = mrnn(*extract)
    assert (code, err) == (0, "1 photo is away; what is known of them stays\n")
    assert " 30 features of " in out
