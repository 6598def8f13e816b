import json
import re
from pathlib import Path

import numpy as np
import pytest

from mrnn.data.feature_store import store as feature_store
from mrnn.data.feature_store.manifest import Manifest
from mrnn.data.feature_store.shard import Column, Rows
from mrnn.data.feature_store.store import CONFIG, FORMAT, FeatureStore, StoreConfig
from mrnn.data.feature_store.writer import feature_writer
from mrnn.errors import DataError
from mrnn.model.config import EncoderIdentity

IDENTITY = EncoderIdentity(
    name="colour", layer="mean", resize_mode="squash", size=8, feature_size=2, weights="0" * 16
)
MEND = "run mrnn again"


def config_of(**changes):
    columns = {"features": Column(dtype="float16", size=2)}
    return StoreConfig(encoder=IDENTITY, columns=columns).model_copy(update=changes)


def rows_of(names, value=None):
    """A name's feature is its length, unless a value is given."""
    values = [len(name) if value is None else value for name in names]
    features = np.repeat(np.array(values, np.float16)[:, None], 2, axis=1)
    counts = np.arange(len(names))
    return Rows(
        tuple(names), np.stack([counts, counts + 10**18, -counts], 1), {"features": features}
    )


def write(folder, *shards, removed=()):
    """A store of some shards, each of these names."""
    manifest = Manifest(folder, config_of(), MEND)
    folder.mkdir(exist_ok=True)
    with feature_writer(manifest) as writer:
        for names in shards:
            writer.write(rows_of(names))
    if removed:
        manifest.take_over(manifest.config, rows=True)
        with feature_writer(manifest) as writer:
            writer.remove(removed)


def open_store(folder):
    return FeatureStore.open(folder, StoreConfig, MEND)


@pytest.fixture
def folder(tmp_path):
    """Of 79 rows, 2 of them removed, in three shards."""
    many = [f"{number:04}" for number in range(40)]
    more = [f"{number:05}" for number in range(40)]
    write(tmp_path / "store", many, more, ["a"], removed=[1, 41])
    return tmp_path / "store"


def test_rows_are_found_by_name_across_shards(folder):
    store = open_store(folder)
    assert len(store) == 79
    names = ["a", "0000", "0001", "00000", "00001", "d"]
    rows = store.find(names)
    assert rows.tolist() == [80, 0, -1, 40, -1, -1]
    there = rows[[0, 1, 3]]
    assert [store.name(row) for row in there.tolist()] == ["a", "0000", "00000"]
    np.testing.assert_array_equal(store.take("features", there), [[1, 1], [4, 4], [5, 5]])
    assert store.stamps(there).tolist() == [[0, 10**18, 0]] * 3
    names = dict(store.names())
    assert len(names) == 79
    assert names[80] == "a"
    assert not {1, 41} & names.keys()


def test_no_rows_at_all(tmp_path):
    write(tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert len(store) == 0
    assert store.find(["a"]).tolist() == [-1]
    assert list(store.names()) == []


def test_the_rows_stay_on_the_disk(folder):
    """In memory there is what is asked for, and its type is that of the disk."""
    store = open_store(folder)
    features = store.shards[0].arrays["features"]
    assert isinstance(features.base.base.base, np.memmap) or not features.flags.owndata
    taken = store.take("features", np.array([3]))
    assert taken.dtype == np.float16
    assert taken.flags.owndata


def test_who_has_opened_a_store_still_has_it_when_it_is_replaced(folder):
    store = open_store(folder)
    manifest = Manifest(folder, config_of(), MEND)
    manifest.take_over(store.config, rows=False)
    with feature_writer(manifest) as writer:
        writer.write(rows_of(["new"]))
    assert store.name(80) == "a"
    assert store.take("features", np.array([80])).tolist() == [[1, 1]]
    assert [name for _, name in open_store(folder).names()] == ["new"]


def test_a_reader_tries_again_while_shards_are_merged(folder, monkeypatch):
    stale = feature_store.read_config(folder, StoreConfig, MEND)
    (folder / "shard-000002.safetensors").rename(folder / "shard-000009.safetensors")
    config = json.loads((folder / CONFIG).read_text())
    config["made"], config["shards"][1]["file"] = 9, "shard-000009.safetensors"
    (folder / CONFIG).write_text(json.dumps(config))
    answers, real = iter([stale, stale]), feature_store.read_config
    monkeypatch.setattr(feature_store, "read_config", lambda *a: next(answers, None) or real(*a))
    assert len(open_store(folder)) == 79


def refused(folder, message, ask=lambda store: None):
    with pytest.raises(DataError, match=message) as raised:
        ask(open_store(folder))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) - len(str(folder.parent)) <= 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(format=2),
            r"config\.json has format 2, not 3; upgrade mrnn, or remove its folder if mrnn",
        ),
        (lambda c: c.update(format=-5), r"has format -5, not 3"),
        (lambda c: c.update(format=True), r"has format True, not 3"),
        (lambda c: c.update(format="x" * 9999), r"has format 'xxxxxxxxxxxxxxxxxxx, not 3"),
        (lambda c: c.pop("format"), r"has format None, not 3"),
        (lambda c: c.pop("columns"), r"config\.json is damaged \(columns is missing\); rem"),
        (lambda c: c.update(more=1), r"is damaged \(more is unknown"),
        (lambda c: c["shards"][0].update(file="../a"), r"shards\[0\]\.file: expected text of"),
        (lambda c: c["shards"][0].update(rows=0), r"shards\[0\]\.rows: expected greater"),
        (lambda c: c["shards"][0].update(rows="40"), r"shards\[0\]\.rows: expected a whole"),
        (lambda c: c["shards"][0].update(removed=[40]), r"removed must be rising numbers below 40"),
        (lambda c: c["shards"][0].update(removed=[2, 2]), r"removed must be rising numbers"),
        (lambda c: c["shards"][0].update(removed=[-1]), r"removed must be rising numbers"),
        (lambda c: c["shards"].append(c["shards"][0]), r"a shard is there twice"),
        (
            lambda c: c["columns"].update({"a\nb": {}}),
            r"columns\.a\\nb\.\[key\]: expected text of",
        ),
        (lambda c: c.update(made=2), r"made is 2, but there is a shard 3"),
        (lambda c: c["columns"]["features"].update(size=2**60), r"less than or equal to 16777216"),
    ],
)
def test_a_config_that_will_not_do(folder, change, message):
    config = json.loads((folder / CONFIG).read_text())
    change(config)
    (folder / CONFIG).write_text(json.dumps(config))
    refused(folder, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"{",
            r"config\.json:1: not JSON \(Expecting .*\); remove its folder if m",
        ),
        (b"\xff", r"config\.json:1: not UTF-8; .*; remove its folder"),
        (b"[" * 100_000, r"config\.json: not JSON .*: nested too deeply; remove its folder"),
        (b"9" * 5_000, r"config\.json: not JSON .* \(Exceeds the limit"),
        (b"[]", r"has format None, not 3"),
        (b'{"format": 3, "format": 3}', r"not JSON .* \(the key 'format' is there twice\); remove"),
    ],
)
def test_a_config_that_is_none(folder, content, message):
    (folder / CONFIG).write_bytes(content)
    refused(folder, message)


def test_a_config_that_is_too_large(folder, monkeypatch):
    monkeypatch.setattr(feature_store, "LARGEST_OWN", 10)
    refused(folder, r"config\.json is damaged \(0 MB\); remove its folder if mrnn made it, then")


def test_files_that_are_not_there(folder):
    (folder / "shard-000002.safetensors").unlink()
    refused(folder, r"shard-000002\.safetensors does not exist; run mrnn again$")
    (folder / CONFIG).unlink()
    refused(folder, r"config\.json cannot be read \(No such file or directory\)$")


@pytest.mark.parametrize("name", [CONFIG, "shard-000001.safetensors"])
def test_files_without_permission(folder, name, monkeypatch):
    def refuse(file, *_, **__):  # root may read everything, so chmod proves nothing
        if file.name == name:
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *_, **__)

    real = Path.open
    monkeypatch.setattr(Path, "open", refuse)
    if name == CONFIG:
        monkeypatch.setattr(Path, "read_bytes", lambda file: file.open())
    refused(folder, rf"{name} cannot be read \(Permission denied\); change that with chmod \+r$")


def overwrite(folder, array, values):
    shard = open_store(folder).shards[0]
    content = bytearray(shard.file.read_bytes())
    start = shard.starts[array]
    content[start : start + len(values)] = values
    shard.file.write_bytes(content)


def test_damaged_shards(folder):
    told = r"shard-000001\.safetensors is damaged \({}\); remove it, then run mrnn again$"
    overwrite(folder, "features", b"\xff\x7f")
    rows = np.arange(10)[::-1]
    refused(
        folder,
        told.format(r"the features of row 1 are not finite"),
        lambda store: store.take("features", rows),
    )
    overwrite(folder, "name_ends", b"\xff" * 8)
    refused(folder, told.format(r"the name of row 1 is not in it"), lambda store: store.name(0))
    (folder / "shard-000001.safetensors").write_bytes(b"")
    refused(folder, told.format(r"not a whole shard"))


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 65_504, -65_504, -0.0, 6e-8])
def test_values_that_are_not_finite(kind, value):
    values = np.ones((3, 4), kind)
    values[1, 2] = value
    assert feature_store._all_finite(values) == np.isfinite(value)


def test_the_format_is_told(folder):
    config = json.loads((folder / CONFIG).read_text())
    assert config["format"] == FORMAT
    assert re.fullmatch(r"shard-\d+\.safetensors", config["shards"][0]["file"])
    assert list(config) == ["format", "encoder", "columns", "made", "shards"]
