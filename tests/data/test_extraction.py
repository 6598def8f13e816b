import hashlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrnn.data import extraction
from mrnn.data.extraction import (
    UNSEEN,
    PhotoUpdate,
    encode_photo,
    size_and_change,
    stamp_of,
    to_float16,
)
from mrnn.data.feature_store.manifest import Manifest
from mrnn.data.feature_store.store import CONFIG, FeatureStore, StoreConfig, read_config
from mrnn.data.feature_store.writer import feature_writer
from mrnn.data.features import store_config
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError
from tests.conftest import COLOURS


class CountingEncoder:
    """Counts the photos that an encoder encodes."""

    def __init__(self, inner):
        self.inner, self.identity, self.encoded = inner, inner.identity, 0
        self.lock = threading.Lock()

    def preprocess(self, photo):
        return self.inner.preprocess(photo)

    def encode(self, pixels):
        with self.lock:
            self.encoded += 1
        return self.inner.encode(pixels)


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


class Run:
    """What a run did."""

    def __init__(self, folder, photos, encoder):
        self.encoder, self.seen, self.problems, self.loaded = encoder, 0, [], 0
        manifest = Manifest(folder, store_config(self.encoder.identity), "run mrnn again")
        with manifest.lock():
            if (folder / CONFIG).exists():
                manifest.take_over(read_config(folder, StoreConfig, ""), rows=True)
            with feature_writer(manifest) as writer:
                named = ((path.name, path) for path in photos)
                self.update = PhotoUpdate(writer, self.load, self.problems.append)
                self.update.add(named, self.see)
        self.store = FeatureStore.open(folder, StoreConfig, "")
        self.names = [name for _, name in self.store.names()]

    def load(self):
        self.loaded += 1
        return self.encoder

    def see(self):
        self.seen += 1


@pytest.fixture
def run(colour_encoder, tmp_path):
    """Runs over photos, with an encoder that counts."""
    return lambda photos: Run(tmp_path / "store", photos, CountingEncoder(colour_encoder))


def test_each_photo_costs_one_call_and_one_more_photo_costs_one_more(photos, run, colour_encoder):
    first = run(photos[:20])
    assert (first.encoder.encoded, first.seen, first.loaded) == (20, 20, 1)
    assert (first.update.new, first.update.changed) == (20, 0)
    again = run(photos[:20])
    assert (again.encoder.encoded, again.seen, again.loaded) == (0, 20, 0)
    assert again.update.seen.all()
    more = run(photos[:21])
    assert (more.encoder.encoded, more.update.new, len(more.store)) == (1, 1, 21)
    expected = [encode_photo(path, colour_encoder) for path in photos[:21]]
    rows = more.store.find([path.name for path in photos[:21]])
    np.testing.assert_array_equal(more.store.take("features", rows), expected)


def test_a_photo_that_comes_twice_is_encoded_once(photos, run):
    made = run([photos[0], photos[1], photos[0], photos[1]])
    assert (made.encoder.encoded, made.seen, made.names) == (2, 4, [p.name for p in photos[:2]])
    Image.new("RGB", (9, 9), COLOURS["blue"]).save(photos[0])
    made = run([photos[0], photos[0], photos[1], photos[1]])
    assert (made.encoder.encoded, len(made.store)) == (1, 2)


@pytest.mark.parametrize("size", ["other size", "same size"])
def test_another_photo_under_an_old_name_is_seen(photos, run, colour_encoder, size):
    """Even where its size and time of modification are those of the photo before."""
    if size == "same size":
        photos[3] = photos[3].with_suffix(".bmp")
        Image.new("RGB", (9, 9), COLOURS["red"]).save(photos[3])
    run(photos)
    before = photos[3].stat()
    Image.new("RGB", (9, 9), COLOURS["blue"]).save(photos[3])
    assert (photos[3].stat().st_size == before.st_size) == (size == "same size")
    os.utime(photos[3], ns=(before.st_atime_ns, before.st_mtime_ns))
    made = run(photos)
    assert (made.encoder.encoded, made.update.new, made.update.changed) == (1, 0, 1)
    assert len(made.store) == len(photos)
    row = made.store.find([photos[3].name])
    feature = encode_photo(photos[3], colour_encoder)
    np.testing.assert_array_equal(made.store.take("features", row)[0], feature)
    assert made.store.stamps(row).tolist() == [list(stamp_of(photos[3]))]


def test_the_same_photo_with_another_time_or_in_another_place_is_not_encoded_again(photos, run):
    first = run(photos)
    os.utime(photos[3], (1, 1))
    copy = photos[4].with_suffix(".copy")
    shutil.copy(photos[4], copy)
    copy.replace(photos[4])
    made = run(photos)
    assert (made.encoder.encoded, made.loaded, made.update.changed) == (0, 0, 0)
    rows, before = (made.store, first.store)
    names = [path.name for path in photos]
    np.testing.assert_array_equal(
        rows.take("features", rows.find(names)), before.take("features", before.find(names))
    )
    stamps = made.store.stamps(made.store.find([path.name for path in photos[3:5]]))
    assert stamps.tolist() == [list(stamp_of(path)) for path in photos[3:5]]


def test_an_unchanged_photo_is_not_read(photos, run, monkeypatch):
    run(photos)
    monkeypatch.setattr(extraction, "stamp_of", None)
    assert run(photos).update.seen.all()


def test_a_photo_that_is_away_keeps_its_row(photos, run):
    run(photos)
    photos[3].unlink()
    photos[4].unlink()
    photos[4].symlink_to("nowhere")
    photos[5].unlink()
    os.mkfifo(photos[5])
    made = run(photos)
    assert (made.encoder.encoded, made.problems, len(made.store)) == (0, [], len(photos))
    assert made.update.seen.all()
    assert made.update.away == [3, 4, 5]


def test_a_photo_that_cannot_be_read_keeps_its_row(photos, run, monkeypatch):
    run(photos)
    os.utime(photos[3], (1, 1))

    def refuse(file, *_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(extraction, "open", refuse, raising=False)
    made = run(photos)
    assert (made.problems, made.update.away, len(made.store)) == ([], [3], len(photos))


def test_one_bad_photo_decides_for_no_other(photos, run):
    photos[2].write_bytes(b"dust")
    photos[4].unlink()
    made = run(photos)
    assert [problem.partition(":")[0] for problem in made.problems] == [
        *(str(photos[2]), str(photos[4]))
    ]
    assert len(made.store) == made.encoder.encoded == len(photos) - 2
    again = run(photos)
    assert (again.problems, again.encoder.encoded) == (made.problems, 0)


def test_a_photo_that_was_replaced_by_a_bad_one_loses_its_row(photos, run):
    run(photos)
    photos[2].write_bytes(b"dust")
    made = run(photos)
    assert len(made.problems) == 1
    assert made.update.lost == 1
    assert made.update.broken == [photos[2].name]
    assert photos[2].name not in made.names
    assert len(made.names) == len(photos) - 1


@pytest.mark.parametrize("value", [70_000, -65_520, np.inf, np.nan])
def test_a_feature_that_float16_does_not_hold_is_told_and_left_out(
    photos, run, colour_encoder, tmp_path, value
):
    odd = colour_encoder.preprocess(load_image(photos[1]))[0]

    class Odd(CountingEncoder):
        def encode(self, pixels):
            feature = super().encode(pixels)
            if np.array_equal(pixels[0], odd):
                feature[5] = value
            return feature

    made = Run(tmp_path / "store", photos[:3], Odd(colour_encoder))
    assert made.names == [photos[0].name, photos[2].name]
    assert made.problems == [
        f"{photos[1]}: its feature holds {value:g}, but numbers up to 65,504 can be stored; "
        "leave the photo out, or use another encoder"
    ]
    rows = made.store.find([photos[1].name])
    assert rows.tolist() == [-1]
    again = run(photos[:3])  # the mend works: another encoder
    assert (again.problems, len(again.store)) == ([], 3)


def test_what_float16_holds_is_rounded_to_it():
    feature = np.array([65_504, 65_519, -65_504, 1e-9, 0.1], np.float32)
    assert to_float16(feature, Path("a")).tolist() == [65_504, 65_504, -65_504, 0, np.float16(0.1)]


def test_names_that_would_break_a_message(tmp_path):
    with pytest.raises(DataError, match=r"^a\\nb\\x1b: its feature holds inf, but") as raised:
        to_float16(np.array([np.inf], np.float32), Path("a\nb\x1b"))
    assert str(raised.value).isprintable()


def test_stamps(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"12345")
    size, changed, digest = stamp_of(file)
    assert (size, changed) == size_and_change(file) == (5, file.stat().st_ctime_ns)
    expected = hashlib.blake2b(b"12345", digest_size=8).digest()
    assert digest == int.from_bytes(expected, "little", signed=True)
    monkeypatch.setattr(extraction, "BLOCK", 2)
    assert stamp_of(file)[2] == digest
    monkeypatch.setattr(extraction, "BLOCKS_HASHED", 2)
    file.write_bytes(b"12346")
    assert stamp_of(file)[2] != digest
    assert stamp_of(file)[2] == stamp_of(file)[2]
    for missing in (tmp_path / "b", Path("nul\0"), tmp_path):
        assert stamp_of(missing) == UNSEEN
        assert size_and_change(missing) == UNSEEN[:2]


def test_photos_that_cannot_be_read(tmp_path, colour_encoder):
    with pytest.raises(ImageError, match=r"no such file$"):
        encode_photo(tmp_path / "nowhere.png", colour_encoder)
