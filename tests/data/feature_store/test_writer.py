import errno
import itertools
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mrnn.data.feature_store import manifest as feature_manifest
from mrnn.data.feature_store import writer as feature_writer
from mrnn.data.feature_store.manifest import Manifest, derive_again
from mrnn.data.feature_store.shard import Column
from mrnn.data.feature_store.store import CONFIG, StoreConfig, read_config
from mrnn.errors import DataError
from mrnn.locks import LOCK
from tests.data.feature_store.test_store import MEND, config_of, open_store, rows_of

FULL = r"store cannot be written \(No space left on device\); mend that, then run mrnn again$"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def present(folder, config=None):
    """A manifest that goes on from what is there."""
    manifest = Manifest(folder, config or config_of(), MEND)
    if (folder / CONFIG).exists():
        manifest.take_over(read_config(folder, StoreConfig, MEND), rows=True)
    return manifest


def add(folder, names, value=None, fail=None, **options):
    """Adds names that are not there, one by one; which these are."""
    manifest, new = present(folder), []
    with manifest.lock(), feature_writer.feature_writer(manifest, **options) as writer:
        for name, row in zip(names, writer.store.find(names), strict=True):
            if row < 0 and not writer.is_added(name):
                number = len(name) if value is None else value
                writer.add(name, (len(name), 7, 8), np.full(2, number, np.float16))
                new.append(name)
            if name == fail:
                raise KeyboardInterrupt
    return new


def remove(folder, names):
    manifest = present(folder)
    with feature_writer.feature_writer(manifest) as writer:
        writer.remove(writer.store.find(names).tolist())


def content(folder):
    """What the rows that count hold: by name the feature."""
    store = open_store(folder)
    rows = dict(store.names())
    values = store.take("features", np.array([*rows], dtype=np.int64)) if rows else []
    found = {name: float(value[0]) for name, value in zip(rows.values(), values, strict=True)}
    assert len(found) == len(store)
    return found


def shards_of(folder):
    entries = open_store(folder).config.shards
    files = {file.name for file in folder.iterdir()} - {CONFIG}
    assert files == {entry.file for entry in entries}
    return [entry.rows for entry in entries]


# Added, removed, merged


def test_what_is_new_is_added_and_the_rest_stays_as_it_is(folder):
    assert add(folder, ["a", "bb", "a"]) == ["a", "bb"]
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert add(folder, ["bb", "ccc"]) == ["ccc"]
    assert content(folder) == {"a": 1, "bb": 2, "ccc": 3}
    assert shards_of(folder) == [2, 1]
    first = "shard-000001.safetensors"
    assert (folder / first).stat().st_mtime_ns == before[first]


def test_where_nothing_is_new_nothing_is_written(folder):
    add(folder, ["a", "bb"])
    before = {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert add(folder, ["a", "bb"]) == []
    after = {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()}
    assert after == before


@pytest.mark.parametrize(("rows", "seconds"), [(3, 1e9), (10_000, 0)])
def test_a_shard_is_written_when_enough_rows_wait_or_long_enough(
    folder, monkeypatch, rows, seconds
):
    monkeypatch.setattr(feature_writer, "ROWS", rows)
    monkeypatch.setattr(feature_writer, "SECONDS", seconds)
    add(folder, [f"{number}" for number in range(7)])
    assert shards_of(folder) == ([3, 3, 1] if seconds else [1] * 7)


def test_what_is_removed_counts_no_more(folder):
    add(folder, [f"{number}" for number in range(40)])
    add(folder, ["a", "b"])
    remove(folder, ["3", "b"])
    assert content(folder).keys() == {*map(str, range(40)), "a"} - {"3"}
    assert shards_of(folder) == [40, 1]
    remove(folder, ["a"])
    assert shards_of(folder) == [40]
    assert add(folder, ["a", "3"], value=9) == ["a", "3"]
    assert (content(folder)["3"], len(content(folder))) == (9, 41)
    remove(folder, ["4", "5"])
    assert shards_of(folder) == [37, 2]
    remove(folder, list(content(folder)))
    assert shards_of(folder) == []
    assert len(open_store(folder)) == 0


def test_a_changed_photo_takes_the_place_of_the_old_at_once(folder):
    """Whoever opens the store finds the old row or the new one, never both, never none."""
    add(folder, [f"{number}" for number in range(40)])
    manifest = present(folder)
    with feature_writer.feature_writer(manifest) as writer:
        writer.remove(writer.store.find(["7"]).tolist())
        assert content(folder)["7"] == 1
        writer.add("7", (1, 2, 3), np.full(2, 9, np.float16))
        assert content(folder)["7"] == 1
        writer.flush()
        assert content(folder)["7"] == 9
    assert len(content(folder)) == 40


def test_small_shards_are_merged_when_enough_are_alike(folder, monkeypatch):
    """Four here: so of 77 rows added one by one each is copied three times at most."""
    monkeypatch.setattr(feature_manifest, "ALIKE", 4)
    monkeypatch.setattr(feature_manifest, "WHOLE", 4**3)
    merged, real = [], feature_manifest.merge_shards
    monkeypatch.setattr(
        feature_manifest,
        "merge_shards",
        lambda f, s, names, *a: merged.append(len(names)) or real(f, s, names, *a),
    )
    names = [f"{number}" for number in range(77)]
    for place, name in enumerate(names):
        assert add(folder, names[: place + 1]) == [name]
        assert len(shards_of(folder)) <= 3 * 3 + 1
    assert content(folder) == {name: len(name) for name in names}
    assert list(content(folder)) == names  # in the order in which they came
    assert shards_of(folder) == [64, 4, 4, 4, 1]
    assert sorted(merged) == [*[4] * 19, *[16] * 4, 64]


def test_large_shards_stay(folder, monkeypatch):
    monkeypatch.setattr(feature_manifest, "WHOLE", 5)
    monkeypatch.setattr(feature_writer, "ROWS", 5)
    add(folder, [f"{number}" for number in range(104)])
    assert shards_of(folder) == [*[5] * 20, 4]


@pytest.mark.parametrize("rows", [1, 15, 16, 255, 256, 4095])
def test_alike_are_shards_of_one_power_of_sixteen(rows):
    entries = [feature_manifest.ShardEntry(file=f"shard-{i:06}.safetensors", rows=rows)
               for i in range(1, 17)]  # fmt: skip
    assert feature_manifest._to_merge(entries) == [*range(16)]
    for other in (rows * 16, max(rows // 16, 4096)):
        odd = entries[0].model_copy(update={"rows": other})
        assert feature_manifest._to_merge([odd, *entries[1:]]) == []


def test_other_columns_come_from_the_features_and_can_be_computed_again(folder):
    columns = config_of().columns | {"vectors": Column(dtype="float32", size=1)}
    config = config_of(columns=columns)

    def times(factor):
        return lambda features: {"vectors": features[:, :1].astype(np.float32) * factor}

    folder.mkdir()
    with feature_writer.feature_writer(Manifest(folder, config, MEND), times(10)) as writer:
        for name in ("a", "bb", "ccc"):
            writer.add(name, (1, 1, 1), np.full(2, len(name), np.float16))
    rows = np.arange(3)
    assert open_store(folder).take("vectors", rows).tolist() == [[10], [20], [30]]
    manifest = present(folder, config)
    derive_again(manifest, open_store(folder), times(3))
    assert open_store(folder).take("vectors", rows).tolist() == [[3], [6], [9]]
    assert content(folder) == {"a": 1, "bb": 2, "ccc": 3}
    manifest.sweep()
    assert shards_of(folder) == [3]


def test_all_at_once_or_nothing(folder):
    add(folder, ["a", "bb"])
    before = sorted(folder.iterdir())

    def replace_all(fail):
        manifest = Manifest(folder, config_of(), MEND)
        manifest.take_over(open_store(folder).config, rows=False)
        with feature_writer.feature_writer(manifest, at_once=True) as writer:
            writer.write(rows_of(["c"]))
            assert content(folder) == {"a": 1, "bb": 2}
            writer.write(rows_of(["dd"]))
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_all(fail=True)
    assert content(folder) == {"a": 1, "bb": 2}
    assert sorted(folder.iterdir()) == before
    replace_all(fail=False)
    assert content(folder) == {"c": 1, "dd": 2}
    assert shards_of(folder) == [1, 1]


def test_a_shard_whose_file_is_gone_is_made_again(folder):
    add(folder, ["a", "bb"])
    add(folder, ["ccc"])
    (folder / "shard-000001.safetensors").unlink()
    assert add(folder, ["a", "bb", "ccc"]) == ["a", "bb"]
    assert content(folder) == {"a": 1, "bb": 2, "ccc": 3}


# Interrupted


def test_ctrl_c_loses_nothing(folder):
    names = [f"{number}" for number in range(9)]
    with pytest.raises(KeyboardInterrupt):
        add(folder, names, fail="5")
    assert add(folder, names) == ["6", "7", "8"]


def test_a_name_is_never_used_for_two_shards(folder):
    """Or a reader that read config.json before could take one for the other."""
    add(folder, ["a"])
    add(folder, ["bb"])
    remove(folder, ["bb"])
    add(folder, ["cc"])
    assert [e.file for e in open_store(folder).config.shards] == [
        *("shard-000001.safetensors", "shard-000003.safetensors")
    ]


def test_a_kill_at_any_renaming_leaves_a_store_that_is_whole(folder, monkeypatch):
    names = [f"{number}" for number in range(40)]
    real, renamed = Path.replace, itertools.count()

    def replace(path, target):
        if next(renamed) == allowed:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(feature_writer, "ROWS", 2)
    monkeypatch.setattr(Path, "replace", replace)
    allowed = 0
    while True:
        renamed = itertools.count()
        try:
            add(folder, names)
            break
        except KeyboardInterrupt:
            allowed += 1
            if (folder / CONFIG).exists():
                assert content(folder) == {n: len(n) for n in names if n in content(folder)}
    assert allowed > 2
    assert content(folder) == {name: len(name) for name in names}
    assert shards_of(folder) == [32, 2, 2, 2, 2]


def add_slowly(folder, names):
    """In a process of its own: rows of 3 ms each in shards of three."""
    feature_writer.ROWS = 3
    manifest = present(folder)
    with manifest.lock(), feature_writer.feature_writer(manifest) as writer:
        for name, row in zip(names, writer.store.find(names), strict=True):
            if row < 0:
                time.sleep(0.003)
                writer.add(name, (len(name), 7, 8), np.full(2, len(name), np.float16))


@pytest.mark.slow
def test_a_writer_killed_at_ten_random_moments_ends_as_one_left_alone(folder, killed):
    """120 rows take longer than the longest moment, however fast the machine is."""
    names, moments, kills = [f"{number}" for number in range(120)], random.Random(0), 0
    for attempt in range(20):
        store = folder.with_name(f"{attempt}")
        while killed(moments.uniform(0.05, 0.25), add_slowly, store, names):
            kills += 1
            if (store / CONFIG).exists():
                found = content(store)
                assert found == {name: len(name) for name in names[: len(found)]}
        assert content(store) == {name: len(name) for name in names}
        shards_of(store)
        if kills >= 10:
            break
    assert kills >= 10


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tests.data.feature_store.test_writer import add, remove
from mrnn.data.feature_store import writer as feature_writer
feature_writer.ROWS = 2
folder = Path({folder!r})
for number in range(10**9):
    add(folder, [f"{{number}}-{{i}}" for i in range(number % 7)])
    if number % 5 == 4:
        remove(folder, [f"{{number - 3}}-0", f"{{number - 2}}-0"])
"""


@pytest.mark.slow
def test_whatever_moment_it_is_killed_a_reader_sees_a_whole_store(folder):
    script = SCRIPT.format(tests=str(Path(__file__).parents[3]), folder=str(folder))
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            try:
                while not (folder / CONFIG).exists():
                    assert process.poll() is None
                    time.sleep(0.01)
                end = time.monotonic() + 0.7
                while time.monotonic() < end:
                    content(folder)
                assert process.poll() is None
            finally:
                process.kill()
        assert content(folder)
    assert add(folder, ["last"]) == ["last"]
    shards_of(folder)


# What cannot be written


def test_one_writer_at_a_time(folder):
    pytest.importorskip("fcntl")
    told = r"store is being written by another mrnn; wait until it is done$"
    with Manifest(folder, config_of(), MEND).lock():
        with pytest.raises(DataError, match=told):
            add(folder, ["a"])
        assert [file.name for file in folder.iterdir()] == [LOCK]
    assert add(folder, ["a"]) == ["a"]


def test_a_lock_that_fails_is_not_another_writer(folder, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(DataError, match=r"store cannot be written \(No locks available\); mend th"):
        add(folder, ["a"])


def test_without_locks_it_works_all_the_same(folder, monkeypatch):
    monkeypatch.setattr("mrnn.locks.HAS_LOCKS", False)
    assert add(folder, ["a"]) == ["a"]


def test_a_link_in_the_place_of_the_lock_empties_no_file(folder, tmp_path):
    folder.mkdir()
    (tmp_path / "victim").write_text("dear")
    (folder / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(
        DataError, match=r"store cannot be written \(.*links\); mend that, then run"
    ):
        add(folder, ["a"])
    assert (tmp_path / "victim").read_text() == "dear"
    assert (folder / LOCK).is_symlink()


@pytest.mark.parametrize("size", [100, 500, 900])
def test_a_full_disk_is_told_and_gone_on_from(folder, limited, size):
    add(folder, ["a"])
    names = [f"{number}" for number in range(100)]
    with (
        pytest.raises(DataError, match=rf"^{folder} cannot be written \(File too large\); mend"),
        limited(size),
    ):
        add(folder, names)
    assert content(folder) == {"a": 1}
    assert len(add(folder, names)) == 100
    assert len(content(folder)) == 101
    shards_of(folder)


def test_a_full_disk_while_merging_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr(feature_writer, "ROWS", 1)
    names = [f"{number}" for number in range(16)]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(feature_manifest, "merge_shards", full)
        with pytest.raises(DataError, match=FULL):
            add(folder, names)
    assert content(folder) == {name: len(name) for name in names}
    assert add(folder, names) == []
    assert shards_of(folder) == [16]


def test_a_shard_that_is_damaged_is_not_merged(folder):
    for number in range(15):
        add(folder, [f"{number}"])
    shard = open_store(folder).shards[3]
    whole = bytearray(shard.file.read_bytes())
    start = shard.starts["name_ends"]
    whole[start : start + 8] = b"\xff" * 8
    shard.file.write_bytes(whole)
    told = r"shard-000004\.safetensors is damaged \(the name of row 1 is not in it\); remove it"
    with pytest.raises(DataError, match=told):
        add(folder, ["last"])
    shard.file.unlink()
    assert add(folder, ["3"]) == ["3"]
    assert len(content(folder)) == 16


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"store cannot be written \(Not a directory\); mend that"):
        add(tmp_path / "file" / "store", ["a"])


# At a million


GROW = """
import resource, sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import numpy as np
from mrnn.data.feature_store.manifest import Manifest
from mrnn.data.feature_store.shard import Column, Rows
from mrnn.data.feature_store.writer import feature_writer
from tests.data.feature_store.test_store import MEND, IDENTITY, StoreConfig
from tests.data.feature_store.test_writer import present

features, vectors = Column(dtype="float16", size=16), Column(dtype="float32", size=16)
config = StoreConfig(encoder=IDENTITY, columns={{"features": features, "vectors": vectors}})
folder, count, block = Path({folder!r}), {count}, {block}

def derive(features):
    return {{"vectors": features.astype(np.float32)}}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

imported = peak()
manifest = present(folder, config)
with manifest.lock(), feature_writer(manifest, derive) as writer:
    names = [f"/photos/of/some/length/{{i:08}}.jpg" for i in range(count, count + block)]
    assert (writer.store.find(names) < 0).all()
    for start in range(0, block, 500):
        some = names[start : start + 500]
        values = np.ones((len(some), 16), np.float16)
        stamps = np.arange(3 * len(some)).reshape(-1, 3)
        writer.write(Rows(some, stamps, {{"features": values, **derive(values)}}))
print(peak() - imported)
"""


def grow(folder, count, block):
    """Adds rows in a process of its own: seconds, and MB that it took beyond what is imported."""
    script = GROW.format(
        tests=str(Path(__file__).parents[3]), folder=str(folder), count=count, block=block
    )
    start = time.monotonic()
    peak = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return time.monotonic() - start, int(peak.stdout)


@pytest.mark.slow
def test_a_photo_more_costs_a_photo_whatever_is_there(folder):
    """100,000 rows: what is there is neither read nor written."""
    grow(folder, 0, 100_000)
    files = {file.name for file in folder.iterdir()}
    assert len(files) < 40
    _, peak = grow(folder, 100_000, 1)
    new = {file.name for file in folder.iterdir()} - files
    assert len(new) == 1
    assert (folder / new.pop()).stat().st_size < 2000
    assert peak < 50
    assert len(open_store(folder)) == 100_001
