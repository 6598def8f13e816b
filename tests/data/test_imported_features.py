import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mrnn.captioning.captioner import Captioner
from mrnn.data import imported_features
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.feature_store.store import CONFIG
from mrnn.data.features import (
    extract_features,
    features_folder,
    load_features,
    recorded_encoder,
)
from mrnn.data.imported_features import import_features
from mrnn.errors import CheckpointError, DataError, OptionsError
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train


def dataset_of(folder, *names):
    images = [CaptionedImage(name, folder / name, "train", ("a wall",)) for name in names]
    return Dataset(folder, tuple(images))


@pytest.fixture
def walls(tmp_path):
    """Three images; import needs no photo."""
    return dataset_of(tmp_path / "data", "a.jpg", "sub/b.jpg", "c.jpg")


@pytest.fixture
def ids(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("c.jpg\na.jpg\nsub/b.jpg\n")
    return file


def matrix_of(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def taken(walls, source, ids, name="vgg16-fc7", *, merged=True):
    """The features, in the order of the images, by whom, and the note."""
    folder, encoder, note = import_features(walls, source, ids, name)
    assert folder == walls.features_folder / f"{name}-imported"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert recorded_encoder(walls, name, "squash") == encoder
    features = load_features(walls, encoder)
    assert features.encoder == encoder
    assert len({path.name for path in folder.iterdir()} - {CONFIG}) == 1 or not merged
    return features.of(walls.images), encoder, note


def test_a_full_disk_is_told_and_leaves_what_was_there(walls, ids, tmp_path, limited):
    source = tmp_path / "features.npy"
    np.save(source, matrix_of(3, 5))
    before, encoder, _ = taken(walls, source, ids)
    np.save(source, matrix_of(3, 2000) + 1)
    for size in (0, 1000, 12_000):
        with (
            pytest.raises(
                DataError, match=r"fc7-imported cannot be written \(File too large\); mend that, "
            ),
            limited(size),
        ):
            import_features(walls, source, ids, "vgg16-fc7")
        np.testing.assert_array_equal(load_features(walls, encoder).of(walls.images), before)
    folder = features_folder(walls, encoder)
    assert len({path.name for path in folder.iterdir()} - {CONFIG}) == 1


# What is taken


@pytest.mark.parametrize("kind", ["npy", "npz", "npz of several", "mat", "columns.mat", "float64"])
def test_rows_go_to_their_images(walls, ids, tmp_path, kind):
    matrix = matrix_of(3, 5)
    source = tmp_path / f"features.{kind.split()[0].rpartition('.')[2]}"
    match kind:
        case "npy":
            np.save(source, matrix)
        case "float64":
            source = tmp_path / "features.npy"
            np.save(source, np.asfortranarray(matrix.astype(np.float64)))
        case "npz":
            np.savez(source, whatever=matrix)
        case "npz of several":
            np.savez(source, features=matrix, boxes=matrix_of(3, 4), count=np.arange(3))
        case "mat":
            savemat(source, {"feats": matrix})
        case "columns.mat":
            savemat(source, {"feats": matrix.T})
    features, encoder, note = taken(walls, source, ids)
    assert note is None
    np.testing.assert_array_equal(features, matrix[[1, 2, 0]].astype(np.float16))
    assert encoder.model_dump() == {
        "name": "vgg16-fc7",
        "layer": "imported",
        "resize_mode": None,
        "size": 0,
        "feature_size": 5,
        "weights": "",
    }


def test_objects_are_averaged_and_places_without_one_left_out(walls, ids, tmp_path):
    """By hand: the first photo has two objects, the others four."""
    matrix = matrix_of(3, 4, 5)
    matrix[0, 2:] = np.nan
    np.save(tmp_path / "objects.npy", matrix)
    features, *_ = taken(walls, tmp_path / "objects.npy", ids)
    expected = [matrix[1].mean(0), matrix[2].mean(0), (matrix[0, 0] + matrix[0, 1]) / 2]
    np.testing.assert_allclose(features, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (["a.jpg", "sub/b.jpg"], "b.jpg\na.jpg"),
        (["a.jpg", "sub/b.jpg"], "b\n\n a \n"),
        (["a.jpg", "sub/b.jpg"], "sub/b\r\na.jpg\r\n"),
        (["1000268201_693b08cb0e.jpg", "2.jpg"], "2\n1000268201_693b08cb0e"),
        (["COCO_val2014_000000000042.jpg", "COCO_val2014_000000391895.jpg"], "391895\n42"),
        (["val2017/000000000042.jpg", "val2017/000000391895.jpg"], "391895\n42"),
        (["val2017/000000000042.jpg", "val2017/000000391895.jpg"], "000000391895\n000000000042"),
        (["01/1000.jpg", "01/1001.jpg"], "1001\n1000"),
    ],
)
def test_ids(tmp_path, names, listed):
    (tmp_path / "ids.txt").write_bytes(listed.encode())
    np.save(tmp_path / "f.npy", [[1.0, 1], [2, 2]])
    features, *_ = taken(
        dataset_of(tmp_path / "d", *names), tmp_path / "f.npy", tmp_path / "ids.txt"
    )
    assert features.tolist() == [[2, 2], [1, 1]]


def test_rows_of_other_photos_are_told_about(walls, tmp_path):
    (tmp_path / "ids.txt").write_text("c\nx\na\ny\nb\n")
    np.save(tmp_path / "f.npy", matrix_of(5, 2))
    features, _, note = taken(walls, tmp_path / "f.npy", tmp_path / "ids.txt")
    assert note == f"2 rows belong to no photo of {walls.folder}, as x"
    assert features.tolist() == matrix_of(5, 2)[[2, 4, 0]].astype(np.float16).tolist()


def test_many_rows(tmp_path):
    names = [f"{i}.jpg" for i in range(700)]
    (tmp_path / "ids.txt").write_text("\n".join(reversed(names)))
    np.save(tmp_path / "f.npy", np.arange(700.0)[:, None] * [1, 2])
    many = dataset_of(tmp_path / "d", *names)
    features, *_ = taken(many, tmp_path / "f.npy", tmp_path / "ids.txt", merged=False)
    np.testing.assert_array_equal(features[:, 0], np.arange(699, -1, -1))


def test_importing_again_replaces(walls, ids, tmp_path):
    np.save(tmp_path / "f.npy", matrix_of(3, 5))
    taken(walls, tmp_path / "f.npy", ids)
    np.save(tmp_path / "f.npy", np.zeros((3, 6)))
    features, *_ = taken(walls, tmp_path / "f.npy", ids)
    assert features.tolist() == [[0] * 6] * 3


def test_a_kill_at_any_renaming_leaves_the_old_features_or_the_new(
    walls, ids, tmp_path, monkeypatch
):
    monkeypatch.setattr(imported_features, "ROWS_AT_ONCE", 1)
    np.save(tmp_path / "f.npy", matrix_of(3, 5))
    before, encoder, _ = taken(walls, tmp_path / "f.npy", ids, merged=False)
    np.save(tmp_path / "f.npy", matrix_of(3, 5) + 1)
    real, renamed, allowed, interrupted = Path.replace, 0, 0, True

    def replace(path, target):
        nonlocal renamed
        if renamed == allowed:
            raise KeyboardInterrupt
        renamed += 1
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    while interrupted:
        renamed = 0
        try:
            import_features(walls, tmp_path / "f.npy", ids, "vgg16-fc7")
            interrupted = False
        except KeyboardInterrupt:
            np.testing.assert_array_equal(load_features(walls, encoder).of(walls.images), before)
            allowed += 1
    assert allowed == 4
    after = load_features(walls, encoder).of(walls.images)
    np.testing.assert_array_equal(after, (matrix_of(3, 5)[[1, 2, 0]] + 1).astype(np.float16))


# What is refused, in one line, with nothing left behind


def refused(walls, source, ids, message, error=DataError, name="vgg16-fc7"):
    with pytest.raises(error, match=message) as raised:
        import_features(walls, source, ids, name)
    assert "\n" not in str(raised.value)
    assert not walls.features_folder.exists() or not list(walls.features_folder.iterdir())


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("a\nb\n", r"f\.npy: holds \(3, 4\), but .*ids\.txt lists 2 photos, one a line$"),
        ("a\nb\na.jpg\n", r"ids\.txt:3: a\.jpg is listed twice; line 1 has it already$"),
        ("a\nb\nx\n", r"ids\.txt: lists no feature of c\.jpg \(1 photo lacks one\); x there is of"),
        ("", r"lists 0 photos"),
    ],
)
def test_ids_that_do_not_fit(walls, tmp_path, listed, message):
    (tmp_path / "ids.txt").write_text(listed)
    np.save(tmp_path / "f.npy", matrix_of(3, 4))
    refused(walls, tmp_path / "f.npy", tmp_path / "ids.txt", message)


def test_an_id_that_may_be_two_photos(tmp_path):
    (tmp_path / "ids.txt").write_text("a.jpg\n1/a\n")
    np.save(tmp_path / "f.npy", matrix_of(2, 2))
    two = dataset_of(tmp_path / "d", "1/a.jpg", "2/a.jpg")
    message = r"ids\.txt:1: a\.jpg may be 1/a\.jpg and 2/a\.jpg; write the whole name$"
    refused(two, tmp_path / "f.npy", tmp_path / "ids.txt", message)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 70_000, "all"])
def test_a_value_that_is_no_number(walls, ids, tmp_path, bad):
    matrix = matrix_of(3, 4, 5) if bad == "all" else matrix_of(3, 5)
    matrix[1] = np.nan if bad == "all" else bad
    np.save(tmp_path / "f.npy", matrix)
    message = r"f\.npy: row 2, of a\.jpg, holds a value that is no number, or too large \(beyond 65"
    refused(walls, tmp_path / "f.npy", ids, message)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("none.npy", None, r"none\.npy: cannot be read \(No such file"),
        ("f.npy", b"nonsense", r"f\.npy: damaged, or not what its name says \("),
        ("f.npy", b"", r"f\.npy: damaged, or not what its name says \("),
        ("f.npz", b"nonsense", r"f\.npz: damaged, or not what its name says \("),
        ("f.mat", b"nonsense", r"f\.mat: damaged, or not what its name says \("),
        ("f.csv", b"1,2", r"f\.csv: features come as \.npy, \.npz or \.mat, not as '\.csv'$"),
        ("f.npy", np.array([{}, 1, 2]), r"f\.npy: damaged, or not what .* \(Array can't be memory"),
        ("f.npy", np.array([["a"] * 2] * 3), r"f\.npy: holds <U1, not numbers$"),
        ("f.npy", np.ones(3), r"f\.npy: holds \(3,\), but "),
        ("f.npy", np.ones((3, 0)), r"f\.npy: holds \(3, 0\), but "),
        ("f.npz", {"a": np.ones((3, 2)), "b": np.ones((3, 2))}, r"several arrays \(a, b\); name "),
        ("f.npz", {"a": np.ones(3)}, r"f\.npz: holds no array of rows; name the one of the feat"),
        ("f.npz", {"a": np.array([[{}]])}, r"f\.npz: damaged, or not what .* \(Object arrays"),
    ],
)
def test_files_that_hold_no_features(walls, ids, tmp_path, file, content, message):
    source = tmp_path / file
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(source, **content)
    elif content is not None:
        np.save(source, content, allow_pickle=True)
    refused(walls, source, ids, message)


def test_a_mat_file_of_matlab_7_3(walls, ids, tmp_path):
    head = b"MATLAB 7.3 MAT-file".ljust(124) + bytes([0, 2]) + b"IM"
    (tmp_path / "f.mat").write_bytes(head + bytes(100))
    message = r"f\.mat: of MATLAB 7\.3, which is not read here; save it with -v7, or as \.npy$"
    refused(walls, tmp_path / "f.mat", ids, message)


def test_without_scipy(walls, ids, tmp_path, monkeypatch):
    savemat(tmp_path / "f.mat", {"feats": matrix_of(3, 5)})
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    refused(
        walls,
        tmp_path / "f.mat",
        ids,
        r"f\.mat: reading \.mat needs: pip install 'mrnn\[train\]'; or",
    )


@pytest.mark.parametrize("name", ["vgg16", "timm:x", "efficientnet-lite2", "a/b", "", "a b"])
def test_names_that_will_not_do(walls, ids, tmp_path, name):
    np.save(tmp_path / "f.npy", matrix_of(3, 5))
    message = rf"^--name {name}: give a name of letters and digits that no encoder has"
    refused(walls, tmp_path / "f.npy", ids, message, OptionsError, name)


# What they are good for


@pytest.fixture
def imported(colours, colour_encoder, tmp_path):
    """The colours with features made elsewhere, by a copy of what the fake encoder makes."""
    extract_features(colours, colour_encoder)
    matrix = load_features(colours, colour_encoder.identity).of(colours.images)
    shutil.rmtree(colours.features_folder)
    np.save(tmp_path / "f.npy", matrix)
    (tmp_path / "ids.txt").write_text("\n".join(image.name for image in colours.images))
    import_features(colours, tmp_path / "f.npy", tmp_path / "ids.txt", "elsewhere")
    return colours


def test_a_model_is_trained_on_them_and_has_no_encoder_for_photos(imported, tmp_path):
    settings = ["encoder.name=elsewhere", "training.epochs=1"]
    settings += [f"model.{layer}_size=8" for layer in ("embedding", "recurrent", "multimodal")]
    *_, finished = train(load_recipe("paper", settings), imported, tmp_path / "run")
    captioner = Captioner.load(finished.folder)
    assert captioner.checkpoint.encoder.name == "elsewhere"
    with pytest.raises(
        CheckpointError,
        match=r"^There is no encoder for photos: the model takes features of elsewhere "
        r"\(imported, 7 values\)\. With those it can be measured, by mrnn evaluate$",
    ):
        captioner.caption(imported.images[0].path)


def test_features_that_are_not_there(imported):
    with pytest.raises(
        DataError,
        match=r"has no features named 'elsewere', and no encoder is; it has elsewhere-imported$",
    ):
        recorded_encoder(imported, "elsewere", "squash")
    with pytest.raises(
        DataError, match=r"vgg16-pad does not exist; run: mrnn extract \S+ --encoder vgg16 --resiz"
    ):
        recorded_encoder(imported, "vgg16", "pad")
    encoder = recorded_encoder(imported, "elsewhere", "squash")
    shutil.rmtree(imported.features_folder / "elsewhere-imported")
    with pytest.raises(
        DataError, match=r"run: mrnn extract \S+ --from FEATURES --ids IDS --name elsewhere$"
    ):
        load_features(imported, encoder)
