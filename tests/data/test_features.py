import json
import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.extraction import encode_photo
from mrnn.data.feature_store import writer as feature_writer
from mrnn.data.feature_store.store import CONFIG, FeatureStore, StoreConfig
from mrnn.data.features import (
    extract_features,
    features_folder,
    load_features,
    recorded_encoder,
)
from mrnn.errors import DataError
from mrnn.model import image_encoder
from mrnn.model.image_encoder import load_encoder
from mrnn.model.threads import AHEAD

SHARD = "shard-000001.safetensors"


class CountingEncoder:
    """Counts the photos that an encoder encodes, and gives up after some of them."""

    def __init__(self, inner, patience=10_000):
        self.inner, self.identity = inner, inner.identity
        self.patience, self.encoded, self.lock = patience, 0, threading.Lock()

    def preprocess(self, photo):
        return self.inner.preprocess(photo)

    def encode(self, pixels):
        with self.lock:
            if self.encoded == self.patience:
                raise KeyboardInterrupt
            self.encoded += 1
        return self.inner.encode(pixels)


@pytest.fixture
def dataset(colours):
    """30 photos."""
    return colours


@pytest.fixture
def folder(dataset, colour_encoder):
    return extract_features(dataset, colour_encoder).folder


def one_by_one(dataset, encoder):
    return np.stack([encode_photo(image.path, encoder) for image in dataset.images])


def loaded(dataset, identity):
    return load_features(dataset, identity).of(dataset.images)


def refused(dataset, identity, message):
    with pytest.raises(DataError, match=message) as raised:
        loaded(dataset, identity)
    told = str(raised.value)
    assert "\n" not in told
    assert len(told) - told.count(str(dataset.folder)) * len(str(dataset.folder)) <= 250
    assert told.endswith(
        f"run: mrnn extract {dataset.folder} --encoder colour --resize-mode {identity.resize_mode}"
    )


# Extracted


def test_features_are_those_of_each_photo(dataset, colour_encoder):
    seen = []
    folder = extract_features(dataset, colour_encoder, lambda: seen.append(1)).folder
    assert len(seen) == 30
    assert folder == dataset.folder / "features" / "colour-squash"
    features, expected = (
        load_features(dataset, colour_encoder.identity),
        one_by_one(dataset, colour_encoder),
    )
    assert len(features) == 30
    assert features.encoder == colour_encoder.identity
    np.testing.assert_array_equal(features.of(dataset.images), expected)
    np.testing.assert_array_equal(features[np.arange(30)], expected)
    some = [dataset.images[7], dataset.images[2]]
    assert features.rows_of(some).tolist() == [7, 2]
    np.testing.assert_array_equal(features.of(some), expected[[7, 2]])
    assert len(np.unique(expected, axis=0)) == 30


def test_what_is_on_the_disk_says_what_made_it(folder, dataset, colour_encoder):
    config = json.loads((folder / CONFIG).read_text())
    assert config == {
        "format": 3,
        "encoder": colour_encoder.identity.model_dump(),
        "columns": {"features": {"dtype": "float16", "size": 7}},
        "made": 1,
        "shards": [{"file": SHARD, "rows": 30, "removed": []}],
    }
    assert {path.name for path in folder.iterdir()} == {CONFIG, SHARD}
    store = FeatureStore.open(folder, StoreConfig, "")
    assert [name for _, name in store.names()] == [image.name for image in dataset.images]
    sizes = [image.path.stat().st_size for image in dataset.images]
    assert store.stamps(np.arange(30))[:, 0].tolist() == sizes


def test_features_that_are_there_are_not_made_again(folder, dataset, colour_encoder):
    before, seen = {f: f.stat().st_mtime_ns for f in folder.iterdir()}, []
    encoder = CountingEncoder(colour_encoder, patience=0)
    assert extract_features(dataset, encoder, lambda: seen.append(1)).folder == folder
    assert (encoder.encoded, len(seen)) == (0, 30)
    assert {f: f.stat().st_mtime_ns for f in folder.iterdir()} == before


def with_one_more(dataset):
    path = dataset.folder / "new.png"
    Image.new("RGB", (9, 9), "red").save(path)
    more = CaptionedImage("new.png", path, "dev", ("a red wall",))
    return replace(dataset, images=(more, *dataset.images))


def test_a_photo_more_costs_one_call_of_the_encoder(folder, dataset, colour_encoder):
    longer, seen = with_one_more(dataset), []
    refused(longer, colour_encoder.identity, r"colour-squash has no feature of new\.png; run: ")
    before = (folder / SHARD).stat().st_mtime_ns
    encoder = CountingEncoder(colour_encoder)
    extract_features(longer, encoder, lambda: seen.append(1))
    assert (encoder.encoded, len(seen)) == (1, 31)
    assert (folder / SHARD).stat().st_mtime_ns == before
    expected = one_by_one(longer, colour_encoder)
    np.testing.assert_array_equal(loaded(longer, colour_encoder.identity), expected)
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected[1:])


def test_of_several_photos_that_lack_one_the_first_is_named(dataset, colour_encoder):
    few = Dataset(dataset.folder, dataset.images[:27])
    extract_features(few, colour_encoder)
    told = r"colour-squash has no feature of dev-03-red\.png and of 2 more; run: mrnn extract "
    refused(dataset, colour_encoder.identity, told)


def test_the_order_of_a_dataset_does_not_matter(folder, dataset, colour_encoder):
    turned = Dataset(dataset.folder, dataset.images[::-1])
    encoder = CountingEncoder(colour_encoder, patience=0)
    extract_features(turned, encoder)
    expected = one_by_one(turned, colour_encoder)
    np.testing.assert_array_equal(loaded(turned, colour_encoder.identity), expected)


def test_another_photo_under_an_old_name_is_seen(folder, dataset, colour_encoder):
    """By its size where features are used; by its content where they are made."""
    path = dataset.images[4].path
    Image.new("RGB", (90, 90), "red").save(path)
    told = r"train-04-green\.png is another photo than its feature was made of; run: mrnn extract"
    refused(dataset, colour_encoder.identity, told)
    Image.new("RGB", (16, 12), "red").save(dataset.images[5].path)
    encoder = CountingEncoder(colour_encoder)
    extract_features(dataset, encoder)
    assert encoder.encoded == 2
    expected = one_by_one(dataset, colour_encoder)
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected)


def test_features_outlive_the_photos(folder, dataset, colour_encoder):
    expected = one_by_one(dataset, colour_encoder)
    for image in dataset.images:
        image.path.unlink()
    assert extract_features(dataset, CountingEncoder(colour_encoder, patience=0)).away == 30
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected)


# Interrupted


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_extraction_goes_on_where_it_stopped(
    dataset, colour_encoder, monkeypatch, threads
):
    """It loses no more than the photos that were taken ahead."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    first = CountingEncoder(colour_encoder, patience=17)
    with pytest.raises(KeyboardInterrupt):
        extract_features(dataset, first)
    refused(dataset, colour_encoder.identity, r"has no feature of \S+ and of 1\d more; run: mrnn")
    second, seen = CountingEncoder(colour_encoder), []
    extract_features(dataset, second, lambda: seen.append(1))
    assert (first.encoded, len(seen)) == (17, 30)
    assert 13 <= second.encoded <= (13 if threads == 1 else 13 + AHEAD * threads)
    expected = one_by_one(dataset, colour_encoder)
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected)


def extract_slowly(data, encoder_file):
    """In a process of its own: fifteen shards of two photos, 20 ms a photo."""
    feature_writer.ROWS = 2
    encoder = CountingEncoder(load_encoder("colour", file=encoder_file))
    encoder.preprocess = lambda photo: time.sleep(0.02) or encoder.inner.preprocess(photo)
    extract_features(Dataset.load(data), encoder)


def test_an_extraction_killed_at_ten_random_moments_ends_as_one_left_alone(
    dataset, colour_encoder, killed
):
    moments, kills = random.Random(0), 0
    folder = features_folder(dataset, colour_encoder.identity)
    file = image_encoder.SHIPPED / "colour.onnx"
    expected = one_by_one(dataset, colour_encoder)
    for _ in range(20):
        while killed(moments.uniform(0, 0.3), extract_slowly, dataset.folder, file):
            kills += 1
        features = load_features(dataset, colour_encoder.identity)
        np.testing.assert_array_equal(features.of(dataset.images), expected)
        files = {path.name for path in folder.iterdir()} - {CONFIG}
        assert files == {entry.file for entry in features.store.config.shards}
        for path in folder.iterdir():
            path.unlink()
        if kills >= 10:
            break
    assert kills >= 10


def test_one_bad_photo_decides_for_no_other(dataset, colour_encoder):
    gone, bad = dataset.images[20], dataset.images[3]
    gone.path.unlink()
    bad.path.write_bytes(b"dust")
    encoder, problems = CountingEncoder(colour_encoder), []
    made = extract_features(dataset, encoder, on_problem=problems.append)
    assert (made.broken, made.away) == ((bad.name, gone.name), 0)
    assert [problem.partition(": ")[0] for problem in problems] == [str(bad.path), str(gone.path)]
    assert encoder.encoded == 28
    for image in (gone, bad):
        Image.new("RGB", (9, 9), "red").save(image.path)
    assert extract_features(dataset, encoder).broken == ()
    assert encoder.encoded == 30


def test_a_full_disk_is_told_and_gone_on_from(dataset, colour_encoder, limited, monkeypatch):
    monkeypatch.setattr(feature_writer, "ROWS", 10)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    encoder = CountingEncoder(colour_encoder)
    told = r"colour-squash cannot be written \(File too large\); mend that, then run: mrnn extract"
    with pytest.raises(DataError, match=told), limited(300):
        extract_features(dataset, encoder)
    assert encoder.encoded == 10
    extract_features(dataset, encoder)
    expected = one_by_one(dataset, colour_encoder)
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected)


def test_two_extractions_at_once(dataset, colour_encoder):
    pytest.importorskip("fcntl")

    class Second(CountingEncoder):
        def encode(self, pixels):
            with pytest.raises(DataError, match=r"is being written by another mrnn; wait until"):
                extract_features(dataset, colour_encoder)
            return super().encode(pixels)

    extract_features(dataset, Second(colour_encoder))
    assert len(load_features(dataset, colour_encoder.identity)) == 30


# Refused


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "f" * 16}, r"weights \w{16}, not f{16}; run"),
        ({"size": 9}, r"size 8, not 9; run"),
        ({"layer": "last", "size": 9}, r"layer mean, not last, size 8, not 9; run"),
    ],
)
def test_features_of_another_encoder_are_made_anew(folder, dataset, colour_encoder, change, told):
    other = CountingEncoder(colour_encoder)
    other.identity = colour_encoder.identity.model_copy(update=change)
    refused(dataset, other.identity, rf"colour-squash is of an encoder with {told}")
    other.patience = 0
    with pytest.raises(KeyboardInterrupt):
        extract_features(dataset, other)
    assert len(load_features(dataset, colour_encoder.identity)) == 30  # those before still stand
    other.patience = 100
    extract_features(dataset, other)
    assert other.encoded == 30
    load_features(dataset, other.identity)
    assert len(list(folder.iterdir())) == 2


def test_another_resize_mode_is_another_folder(folder, dataset, colour_encoder):
    padded = colour_encoder.identity.model_copy(update={"resize_mode": "pad"})
    assert features_folder(dataset, padded) != folder
    refused(dataset, padded, r"colour-pad does not exist; run: mrnn extract")


def test_names_of_encoders_that_are_no_names_of_folders(dataset, colour_encoder):
    odd = colour_encoder.identity.model_copy(update={"name": "timm:a/b@320+c"})
    assert features_folder(dataset, odd).name == "timm-a-b-320-c-squash"
    assert features_folder(dataset, odd).parent == dataset.features_folder


def damage(folder, what):
    config = json.loads((folder / CONFIG).read_text())
    match what:
        case "not JSON":
            (folder / CONFIG).write_text("{")
        case "format":
            (folder / CONFIG).write_text(json.dumps(config | {"format": 4}))
        case "float32":
            config["columns"]["features"]["dtype"] = "float32"
            (folder / CONFIG).write_text(json.dumps(config | {"shards": []}))
        case "shard":
            (folder / SHARD).write_bytes((folder / SHARD).read_bytes()[:-1])
        case "not finite":
            content = (folder / SHARD).read_bytes()
            place = FeatureStore.open(folder, StoreConfig, "").shards[0].starts["features"]
            (folder / SHARD).write_bytes(content[:place] + b"\xff\x7f" + content[place + 2 :])
        case "no shard":
            (folder / SHARD).unlink()


@pytest.mark.parametrize(
    ("what", "message", "remove"),
    [
        (
            "not JSON",
            r"config\.json:1: not JSON \(Expecting .*\); remove its folder if mrnn made it,",
            ".",
        ),
        (
            "format",
            r"config\.json has format 4, not 3; upgrade mrnn, or remove its folder if mrnn",
            ".",
        ),
        ("float32", r"-squash does not hold float16 features; remove it, then run", "."),
        ("shard", r"1\.safetensors is damaged \(it has .*\); remove it, then run", SHARD),
        (
            "not finite",
            r"is damaged \(the features of row 1 are not finite\); remove it, then",
            SHARD,
        ),
        ("no shard", r"shard-000001\.safetensors does not exist; run", None),
    ],
)
def test_damage_is_named_with_what_mends_it(folder, dataset, colour_encoder, what, message, remove):
    damage(folder, what)
    refused(dataset, colour_encoder.identity, message)
    if remove:
        for path in list(folder.iterdir()) if remove == "." else [folder / remove]:
            path.unlink()
    extract_features(dataset, colour_encoder)
    expected = one_by_one(dataset, colour_encoder)
    np.testing.assert_array_equal(loaded(dataset, colour_encoder.identity), expected)


def test_whose_features_are_there_is_told_without_the_encoder(folder, dataset, colour_encoder):
    assert recorded_encoder(dataset, "colour", "squash") == colour_encoder.identity
    with pytest.raises(DataError, match=r"colour-pad does not exist; run: mrnn extract \S+ --enc"):
        recorded_encoder(dataset, "colour", "pad")
    with pytest.raises(DataError, match=r"'colur', and no encoder is; it has colour-squash$"):
        recorded_encoder(dataset, "colur", "squash")
