import os

import numpy as np
import pytest
from PIL import Image

from mrnn.data.extraction import add_photos, encode_photo, stamp_of, to_float16
from mrnn.data.feature_manifest import Manifest
from mrnn.data.feature_store import CONFIG, FeatureStore, StoreConfig, read_config
from mrnn.data.feature_writer import feature_writer
from mrnn.data.features import store_config
from mrnn.errors import DataError, ImageError
from tests.conftest import COLOURS, ColourEncoder


class CountingEncoder(ColourEncoder):
    """Counts the photos it encodes."""

    encoded = 0

    def encode(self, pixels):
        self.encoded += 1
        return super().encode(pixels)


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


class Run:
    """What a run did."""

    def __init__(self, folder, photos, encoder=None):
        self.encoder, self.seen, self.problems, self.loaded = encoder or CountingEncoder(), 0, [], 0
        manifest = Manifest(folder, store_config(self.encoder.identity), "run mrnn again")
        with manifest.lock():
            if (folder / CONFIG).exists():
                manifest.take_over(read_config(folder, StoreConfig, ""), rows=True)
            with feature_writer(manifest) as writer:
                named = ((path.name, path) for path in photos)
                self.added = add_photos(named, writer, self.load, self.see, self.problems.append)
        self.store = FeatureStore.open(folder, StoreConfig, "")
        self.names = [name for _, name in self.store.names()]

    def load(self):
        self.loaded += 1
        return self.encoder

    def see(self):
        self.seen += 1


def test_each_photo_costs_one_call_and_one_more_photo_costs_one_more(photos, tmp_path):
    first = Run(tmp_path / "store", photos[:20])
    assert (first.encoder.encoded, first.seen, first.loaded) == (20, 20, 1)
    assert (first.added.new, first.added.changed) == (20, 0)
    again = Run(tmp_path / "store", photos[:20])
    assert (again.encoder.encoded, again.seen, again.loaded) == (0, 20, 0)
    assert again.added.good.all()
    more = Run(tmp_path / "store", photos[:21])
    assert (more.encoder.encoded, more.added.new, len(more.store)) == (1, 1, 21)
    expected = [encode_photo(path, ColourEncoder()) for path in photos[:21]]
    rows = more.store.find([path.name for path in photos[:21]])
    np.testing.assert_array_equal(more.store.take("features", rows), expected)


def test_a_photo_that_comes_twice_is_encoded_once(photos, tmp_path):
    run = Run(tmp_path / "store", [photos[0], photos[1], photos[0], photos[1]])
    assert (run.encoder.encoded, run.seen, run.names) == (2, 4, [p.name for p in photos[:2]])
    os.utime(photos[0], (1, 1))
    run = Run(tmp_path / "store", [photos[0], photos[0], photos[1], photos[1]])
    assert (run.encoder.encoded, len(run.store)) == (1, 2)


@pytest.mark.parametrize("change", ["size", "time"])
def test_another_photo_under_an_old_name_is_seen(photos, tmp_path, change):
    Run(tmp_path / "store", photos)
    status = photos[3].stat()
    if change == "size":
        Image.new("RGB", (9, 9), COLOURS["blue"]).save(photos[3])
        os.utime(photos[3], ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(photos[3], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    run = Run(tmp_path / "store", photos)
    assert (run.encoder.encoded, run.added.new, run.added.changed) == (1, 0, 1)
    assert not run.added.good[3]
    assert len(run.store) == len(photos)
    row = run.store.find([photos[3].name])
    feature = encode_photo(photos[3], ColourEncoder())
    np.testing.assert_array_equal(run.store.take("features", row)[0], feature)
    assert run.store.stamps(row).tolist() == [list(stamp_of(photos[3]))]


def test_a_photo_that_is_away_keeps_its_row(photos, tmp_path):
    Run(tmp_path / "store", photos)
    photos[3].unlink()
    run = Run(tmp_path / "store", photos)
    assert (run.encoder.encoded, run.problems, len(run.store)) == (0, [], len(photos))
    assert run.added.good.all()


def test_one_bad_photo_decides_for_no_other(photos, tmp_path):
    photos[2].write_bytes(b"dust")
    photos[4].unlink()
    run = Run(tmp_path / "store", photos)
    assert [problem.partition(":")[0] for problem in run.problems] == [
        *(str(photos[2]), str(photos[4]))
    ]
    assert len(run.store) == run.encoder.encoded == len(photos) - 2
    again = Run(tmp_path / "store", photos)
    assert (again.problems, again.encoder.encoded) == (run.problems, 0)


def test_a_photo_that_was_replaced_by_a_bad_one_loses_its_row(photos, tmp_path):
    Run(tmp_path / "store", photos)
    photos[2].write_bytes(b"dust")
    run = Run(tmp_path / "store", photos)
    assert len(run.problems) == 1
    assert photos[2].name not in run.names
    assert len(run.names) == len(photos) - 1


@pytest.mark.parametrize("value", [70_000, -65_520, np.inf, np.nan])
def test_a_feature_that_float16_does_not_hold_is_told_and_left_out(photos, tmp_path, value):
    class Odd(CountingEncoder):
        def encode(self, pixels):
            feature = super().encode(pixels)
            if self.encoded == 2:
                feature[5] = value
            return feature

    run = Run(tmp_path / "store", photos[:3], Odd())
    assert run.names == [photos[0].name, photos[2].name]
    assert run.problems == [
        f"{photos[1]}: its feature holds {value:g}, but numbers up to 65,504 can be stored; "
        "leave the photo out, or use another encoder"
    ]
    rows = run.store.find([photos[1].name])
    assert rows.tolist() == [-1]
    again = Run(tmp_path / "store", photos[:3])  # the mend works: another encoder
    assert (again.problems, len(again.store)) == ([], 3)


def test_what_float16_holds_is_rounded_to_it():
    feature = np.array([65_504, 65_519, -65_504, 1e-9, 0.1], np.float32)
    assert to_float16(feature, "a").tolist() == [65_504, 65_504, -65_504, 0, np.float16(0.1)]


def test_names_that_would_break_a_message(tmp_path):
    with pytest.raises(DataError, match=r"^a\\nb\\x1b: its feature holds inf, but") as raised:
        to_float16(np.array([np.inf], np.float32), "a\nb\x1b")
    assert str(raised.value).isprintable()


def test_stamps(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    os.utime(tmp_path / "a", ns=(0, 10**18 + 1))
    assert stamp_of(tmp_path / "a") == (5, 10**18 + 1)
    assert stamp_of(tmp_path / "b") is None
    assert stamp_of("nul\0") is None


def test_photos_that_cannot_be_read(tmp_path, colour_encoder):
    with pytest.raises(ImageError, match=r"no such file$"):
        encode_photo(tmp_path / "nowhere.png", colour_encoder)
