import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mrnn.data.feature_store import shard as feature_shard
from mrnn.data.feature_store.keys import keys_of
from mrnn.data.feature_store.shard import (
    Column,
    Rows,
    Shard,
    merge_shards,
    write_shard,
)

COLUMNS = {
    "features": Column(dtype="float16", size=3),
    "vectors": Column(dtype="float32", size=2),
}
NAMES = ("a.jpg", "sub/é 🐕.png", "not UTF-8 \udcff", "")


def rows_of(names=NAMES, first=0):
    numbers = np.arange(first, first + len(names))
    features = numbers[:, None] + np.array([0, 0.25, 0.5])
    vectors = numbers[:, None] + np.array([0.1, 0.2])
    columns = {"features": features.astype(np.float16), "vectors": vectors.astype(np.float32)}
    stamps = np.stack([numbers + 100, numbers + 10**18, -numbers], axis=1)
    return Rows(names, stamps, columns)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "shard"
    write_shard(file, rows_of(), COLUMNS)
    return file


def test_what_is_written_is_read(file):
    shard, rows = Shard.open(file, 4, COLUMNS), rows_of()
    assert len(shard) == 4
    assert [shard.name(row) for row in range(4)] == list(NAMES)
    for name, values in (*rows.columns.items(), ("stamps", rows.stamps)):
        np.testing.assert_array_equal(shard.arrays[name], values)
    np.testing.assert_array_equal(shard.arrays["keys"], keys_of(NAMES))
    assert [path.name for path in file.parent.iterdir()] == ["shard"]


def test_it_is_a_safetensors_file_with_all_numbers_aligned(file):
    """Against the library."""
    tensors = load_file(file)
    shard = Shard.open(file, 4, COLUMNS)
    assert tensors.keys() == shard.arrays.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(shard.arrays[name], tensor)
        assert shard.arrays[name].dtype == tensor.dtype
        assert shard.starts[name] % tensor.dtype.itemsize == 0
    assert bytes(tensors["names"]).decode("utf-8", "surrogatepass") == "".join(NAMES)


@pytest.mark.parametrize("at_once", [2, 1024])
def test_shards_are_merged_without_what_is_removed(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(feature_shard, "ROWS_AT_ONCE", at_once)
    parts = []
    for number in range(3):
        names = tuple(f"{number}-{row}" for row in range(5))
        write_shard(tmp_path / f"{number}", rows_of(names, 10 * number), COLUMNS)
        kept = np.arange(5) != number
        parts.append((Shard.open(tmp_path / f"{number}", 5, COLUMNS), kept))
    names = [f"{number}-{row}" for number in range(3) for row in range(5) if row != number]
    merge_shards(tmp_path / "merged", parts, names, COLUMNS)
    merged = Shard.open(tmp_path / "merged", 12, COLUMNS)
    for name in ("keys", "stamps", *COLUMNS):
        expected = np.concatenate([shard.arrays[name][kept] for shard, kept in parts])
        np.testing.assert_array_equal(merged.arrays[name], expected)
    assert [merged.name(row) for row in range(12)] == names


def test_other_columns_may_be_computed_from_the_features(file):
    wide = COLUMNS | {"vectors": Column(dtype="float32", size=1)}
    shard = Shard.open(file, 4, COLUMNS)
    kept = np.array([True, False, True, True])
    target = file.with_name("new")
    derive = lambda features: {"vectors": features[:, :1] * np.float32(2)}  # noqa: E731
    merge_shards(target, [(shard, kept)], ["a", "b", "c"], wide, derive)
    new = Shard.open(target, 3, wide)
    np.testing.assert_array_equal(new.arrays["vectors"], [[0], [4], [6]])
    np.testing.assert_array_equal(new.arrays["features"], shard.arrays["features"][kept])


def test_a_full_disk_leaves_nothing_and_is_named(tmp_path, limited):
    with pytest.raises(OSError, match="File too large") as raised, limited(300):
        write_shard(tmp_path / "shard", rows_of(), COLUMNS)
    assert raised.value.filename == str(tmp_path / "shard")
    assert not list(tmp_path.iterdir())


def test_a_link_in_the_place_of_the_sibling_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("dear")
    (tmp_path / "shard.mrnn-new").symlink_to(tmp_path / "victim")
    write_shard(tmp_path / "shard", rows_of(), COLUMNS)
    assert (tmp_path / "victim").read_text() == "dear"
    assert len(Shard.open(tmp_path / "shard", 4, COLUMNS)) == 4


def with_header(content, change):
    length = int.from_bytes(content[:8], "little")
    header = change(content[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def changed(**keys):
    def change(header):
        content = json.loads(header)
        for name, value in keys.items():
            content[name] = value
        return json.dumps(content).encode()

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: b"", "not a whole shard"),
        (lambda c: b"\xff" * 500, "not a whole shard"),
        (lambda c: c[:100], "not a whole shard"),
        (lambda c: c[:-1], r"it has \d+ bytes, not \d+"),
        (lambda c: c + b"1", r"it has \d+ bytes, not \d+"),
        (lambda c: with_header(c, lambda h: b"{"), "its header is no JSON"),
        (lambda c: with_header(c, lambda h: b"\xff\xff"), "its header is no JSON"),
        (lambda c: with_header(c, lambda h: b"[" * 60_000), "its header is no JSON"),
        (lambda c: with_header(c, lambda h: b"[]"), "its header has no names"),
        (lambda c: with_header(c, changed(names=7)), "its header has no names"),
        (lambda c: with_header(c, changed(names={"shape": [-1]})), "its header has no names"),
        (
            lambda c: with_header(c, changed(features={"dtype": "F64"})),
            r"its features have another type, shape or place",
        ),
        (lambda c: with_header(c, changed(more={})), "it holds 'more' too"),
    ],
)
def test_a_file_of_another_form(file, damage, message):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=message):
        Shard.open(file, 4, COLUMNS)


def test_another_number_of_rows_and_files_of_others(file):
    with pytest.raises(ValueError, match=r"its keys have another type, shape or place"):
        Shard.open(file, 5, COLUMNS)
    save_file({"names": np.zeros(3, np.uint8)}, file)
    with pytest.raises(ValueError, match="its keys have another"):
        Shard.open(file, 4, COLUMNS)


@pytest.mark.parametrize("ends", [[-1] * 4, [5, 4, 9, 9], [10**9] * 4, [5, 10, 10, 10]])
def test_damaged_names(file, ends):
    start = Shard.open(file, 4, COLUMNS).starts["name_ends"]
    content = bytearray(file.read_bytes())
    content[start : start + 32] = np.array(ends).tobytes()
    file.write_bytes(content)
    shard = Shard.open(file, 4, COLUMNS)
    with pytest.raises(ValueError, match=re.compile(r"the name of row \d is not in it|decode")):
        [shard.name(row) for row in range(4)]
