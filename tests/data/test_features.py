import errno
import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrnn.data import features
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import extract_features, features_file, load_features
from mrnn.data.images import load_image
from mrnn.errors import DataError
from mrnn.model.image_encoder import open_encoder
from tests.model.tiny_encoder import write_colour_encoder


class CountingEncoder:
    """A fake that counts the photos it encodes, and gives up after some of them."""

    def __init__(self, inner, patience=10_000):
        self.inner, self.identity = inner, inner.identity
        self.patience, self.encoded = patience, 0

    def preprocess(self, photo):
        return self.inner.preprocess(photo)

    def encode(self, pixels):
        if self.encoded + 1 > self.patience:
            raise KeyboardInterrupt
        self.encoded += 1
        return self.inner.encode(pixels)


@pytest.fixture
def dataset(colours):
    """30 photos in 2 batches."""
    return colours


@pytest.fixture
def file(dataset, colour_encoder):
    return extract_features(dataset, colour_encoder)


def one_by_one(dataset, encoder):
    photos = [load_image(image.path) for image in dataset.images]
    return np.stack([encoder.encode(encoder.preprocess(p)) for p in photos]).astype(np.float16)


def refused(dataset, identity, message):
    with pytest.raises(DataError, match=message) as raised:
        load_features(dataset, identity)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(
        f"Run: mrnn extract {dataset.folder} --encoder colour --resize-mode {identity.resize_mode}"
    )


# Extracted


def test_features_are_those_of_each_photo(dataset, colour_encoder):
    seen = []
    file = extract_features(dataset, colour_encoder, lambda: seen.append(1))
    assert len(seen) == 30
    assert file == dataset.folder / "features" / "colour-squash.npy"
    loaded = load_features(dataset, colour_encoder.identity)
    np.testing.assert_array_equal(loaded.matrix, one_by_one(dataset, colour_encoder))
    some = [dataset.images[7], dataset.images[2]]
    np.testing.assert_array_equal(loaded.of(some), loaded.matrix[[7, 2]])
    assert len(np.unique(loaded.matrix, axis=0)) == 30


def test_provenance_says_what_made_them(file, dataset, colour_encoder):
    provenance = json.loads(file.with_suffix(".json").read_text())
    assert provenance == {
        "format": 1,
        "encoder": colour_encoder.identity.model_dump(),
        "names": [image.name for image in dataset.images],
    }
    assert sorted(path.name for path in file.parent.iterdir()) == [
        *("colour-squash.json", "colour-squash.npy")
    ]


def test_features_that_are_there_are_not_made_again(file, dataset, colour_encoder):
    before, seen = file.stat().st_mtime_ns, []
    encoder = CountingEncoder(colour_encoder, patience=0)
    assert extract_features(dataset, encoder, lambda: seen.append(1)) == file
    assert (encoder.encoded, len(seen), file.stat().st_mtime_ns) == (0, 30, before)


# Interrupted


def test_an_interrupted_extraction_goes_on_where_it_stopped(dataset, colour_encoder):
    first = CountingEncoder(colour_encoder, patience=16)
    with pytest.raises(KeyboardInterrupt):
        extract_features(dataset, first)
    refused(dataset, colour_encoder.identity, r"colour-squash\.npy does not exist\.")
    second, seen = CountingEncoder(colour_encoder), []
    file = extract_features(dataset, second, lambda: seen.append(1))
    assert (first.encoded, second.encoded, len(seen)) == (16, 14, 30)
    np.testing.assert_array_equal(np.load(file), one_by_one(dataset, colour_encoder))
    assert len(list(file.parent.iterdir())) == 2


@pytest.mark.parametrize("name", ["partial.npy", "partial.json", "progress"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_damaged_beginning_is_made_anew(dataset, colour_encoder, name, content):
    with pytest.raises(KeyboardInterrupt):
        extract_features(dataset, CountingEncoder(colour_encoder, patience=16))
    damaged = dataset.features_folder / f"colour-squash.{name}"
    assert damaged.exists()
    damaged.unlink()
    if content is not None:
        damaged.write_bytes(content)
    file = extract_features(dataset, colour_encoder)
    np.testing.assert_array_equal(np.load(file), one_by_one(dataset, colour_encoder))


def test_the_beginning_of_another_dataset_is_not_gone_on_with(dataset, colour_encoder):
    with pytest.raises(KeyboardInterrupt):
        extract_features(dataset, CountingEncoder(colour_encoder, patience=16))
    turned = Dataset(dataset.folder, dataset.images[::-1])
    file = extract_features(turned, colour_encoder)
    np.testing.assert_array_equal(np.load(file), one_by_one(turned, colour_encoder))


def test_a_kill_just_before_the_end_never_leaves_old_features_under_a_new_name(
    file, dataset, colour_encoder, monkeypatch
):
    """Whichever renaming is the last one, what is there is refused or right."""
    other = CountingEncoder(colour_encoder)
    other.identity = colour_encoder.identity.model_copy(update={"weights": "1" * 16})
    other.encode = lambda pixels: np.full(7, 9, np.float32)
    renamed, replace_path = [], type(file).replace

    def count(path, target):
        if len(renamed) == allowed:
            raise KeyboardInterrupt
        renamed.append(target)
        return replace_path(path, target)

    monkeypatch.setattr(type(file), "replace", count)
    allowed, interrupted = 0, True
    while interrupted:
        renamed.clear()
        try:
            extract_features(dataset, other)
            interrupted = False
        except KeyboardInterrupt:
            refused(dataset, other.identity, "colour-squash")
            allowed += 1
    assert allowed >= 3
    assert (load_features(dataset, other.identity).matrix == 9).all()


def extract_slowly(data):
    """In a process of its own: fifteen batches of two photos, 10 ms each."""
    features.BATCH = 2
    file = write_colour_encoder(data.parent / "colour.onnx")
    encoder = CountingEncoder(open_encoder(file, "squash"))
    encoder.preprocess = lambda photo: time.sleep(0.005) or encoder.inner.preprocess(photo)
    extract_features(Dataset.load(data), encoder)


def test_an_extraction_killed_at_ten_random_moments_ends_as_one_left_alone(
    dataset, colour_encoder, killed
):
    file, moments, kills = features_file(dataset, colour_encoder.identity), random.Random(0), 0
    for _ in range(20):
        while killed(moments.uniform(0, 0.2), extract_slowly, dataset.folder):
            kills += 1
        np.testing.assert_array_equal(np.load(file), one_by_one(dataset, colour_encoder))
        assert len(list(file.parent.iterdir())) == 2
        file.unlink()
        if kills >= 10:
            break
    assert kills >= 10


def test_what_a_run_left_that_was_killed_at_its_very_end_is_cleared(dataset, colour_encoder):
    file = extract_features(dataset, colour_encoder)
    for suffix in (".partial.json", ".progress"):
        file.with_suffix(suffix).write_text("1")
    extract_features(dataset, colour_encoder)
    assert sorted(file.parent.iterdir()) == [file.with_suffix(".json"), file]


@pytest.mark.parametrize("where", ["at the header", "after it"])
def test_a_full_disk_is_told_before_the_first_photo(dataset, colour_encoder, monkeypatch, where):
    def full(file, *_, **__):
        if where == "at the header":
            file.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "at the header":
        monkeypatch.setattr(np.lib.format, "open_memmap", full)
    else:
        monkeypatch.setattr(features.os, "posix_fallocate", full)
    encoder = CountingEncoder(colour_encoder)
    with pytest.raises(
        DataError,
        match=r"partial\.npy: the features cannot be written \(No space left on device\)$",
    ):
        extract_features(dataset, encoder)
    assert encoder.encoded == 0
    assert list(dataset.features_folder.iterdir()) == []
    monkeypatch.undo()
    np.testing.assert_array_equal(
        np.load(extract_features(dataset, encoder)), one_by_one(dataset, colour_encoder)
    )


def test_a_missing_photo_is_named(dataset, colour_encoder):
    gone = dataset.images[20].path
    gone.unlink()
    with pytest.raises(
        DataError, match=rf"{gone.name}: no such file\. Run: mrnn check {dataset.folder}$"
    ):
        extract_features(dataset, colour_encoder)
    Image.new("RGB", (9, 9)).save(gone)
    encoder = CountingEncoder(colour_encoder)
    extract_features(dataset, encoder)
    assert encoder.encoded == 14  # the first batch was kept


# Refused, and mended by the command that the message names


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "f" * 16}, r"weights [0-9a-f]+\).*not by .*weights ffffffffffffffff"),
        ({"size": 9}, "8 px.*not by .*9 px"),
        ({"layer": "last"}, "mean.*not by .*last"),
    ],
)
def test_features_of_another_encoder(file, dataset, colour_encoder, change, told):
    other = CountingEncoder(colour_encoder)
    other.identity = colour_encoder.identity.model_copy(update=change)
    refused(dataset, other.identity, rf"colour-squash\.npy was made by colour .*{told}")
    extract_features(dataset, other)
    assert other.encoded == 30
    load_features(dataset, other.identity)


def test_another_resize_mode_is_another_file(file, dataset, colour_encoder):
    padded = colour_encoder.identity.model_copy(update={"resize_mode": "pad"})
    assert features_file(dataset, padded) != file
    refused(dataset, padded, r"colour-pad\.npy does not exist\.")


def test_a_photo_that_came_later(file, dataset, colour_encoder, tmp_path):
    path = tmp_path / "new.png"
    Image.new("RGB", (9, 9), "red").save(path)
    longer = replace(
        dataset, images=(*dataset.images, CaptionedImage("new.png", path, "dev", ("a red wall",)))
    )
    refused(longer, colour_encoder.identity, r"colour-squash\.npy has no feature of 'new\.png'\.")
    extract_features(longer, colour_encoder)
    assert len(load_features(longer, colour_encoder.identity).matrix) == 31


def damage(file, what):
    sidecar = file.with_suffix(".json")
    provenance = json.loads(sidecar.read_text())
    matrix = np.load(file)
    match what:
        case "no sidecar":
            sidecar.unlink()
        case "not JSON":
            sidecar.write_text("{")
        case "not an object":
            sidecar.write_text("[]")
        case "format":
            sidecar.write_text(json.dumps(provenance | {"format": 2}))
        case "no names":
            sidecar.write_text(json.dumps({"format": 1, "encoder": provenance["encoder"]}))
        case "shape":
            np.save(file, matrix[:-1])
        case "float32":
            np.save(file, matrix.astype(np.float32))
        case "cut":
            file.write_bytes(file.read_bytes()[:-50])
        case "header":
            file.write_bytes(file.read_bytes().replace(b"(30", b"((3"))
        case "empty":
            file.write_bytes(b"")
        case "pickle":
            np.save(file, np.array([{}]), allow_pickle=True)
        case "archive":
            with file.open("wb") as stream:
                np.savez(stream, matrix)
        case "not finite":
            matrix[4, 2], matrix[4, 3] = np.inf, -np.inf
            np.save(file, matrix)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no sidecar", r"colour-squash\.json cannot be read \(.*No such file"),
        ("not JSON", r"colour-squash\.json cannot be read \(Expecting property name"),
        (
            "not an object",
            r"colour-squash\.json is not what `mrnn extract` writes \(Input should",
        ),
        ("format", r"colour-squash\.json has format 2; this version reads 1\."),
        ("no names", r"is not what `mrnn extract` writes \(names: Field required\)"),
        ("shape", r"holds float16 of shape \(29, 7\), not float16 of \(30, 7\)\."),
        ("float32", r"holds float32 of shape \(30, 7\), not float16 of \(30, 7\)\."),
        ("cut", r"colour-squash\.npy cannot be read \(mmap length"),
        ("header", r"colour-squash\.npy cannot be read \("),
        ("empty", r"colour-squash\.npy cannot be read \("),
        ("pickle", r"colour-squash\.npy cannot be read \(Array can't be memory-mapped"),
        ("archive", r"colour-squash\.npy cannot be read \(the magic string"),
        ("not finite", r"colour-squash\.npy holds no finite feature of 'train-04-green\.png'\."),
    ],
)
def test_damage_is_named_and_mended_by_extract(file, dataset, colour_encoder, what, message):
    damage(file, what)
    refused(dataset, colour_encoder.identity, message)
    extract_features(dataset, colour_encoder)
    loaded = load_features(dataset, colour_encoder.identity)
    np.testing.assert_array_equal(loaded.matrix, one_by_one(dataset, colour_encoder))
