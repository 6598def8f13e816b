import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mrnn.data.feature_store import writer as feature_writer
from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import DataError
from mrnn.model.image_encoder import OnnxEncoder
from mrnn.retrieval.index import lance_store, lance_writer
from mrnn.retrieval.index.folder import Scope
from mrnn.retrieval.index.index import IndexChanges, open_index
from mrnn.retrieval.index.lance_table import TABLE, connect, table_folder
from mrnn.retrieval.index.writer import index_photos
from mrnn.retrieval.search import PhotoIndex
from tests.retrieval.index.test_writer import with_other_heads


def index(photos, folder, model, **scope):
    scope = Scope(engine="lance", **scope)
    return index_photos(photos, folder, model, lambda: None, pytest.fail, scope)


def names_of(folder):
    return [name for _, name in open_index(folder).names()]


def config_of(folder):
    return json.loads((folder / CONFIG).read_text())


def files_of(folder):
    return {file for file in table_folder(folder).rglob("*") if file.is_file()}


def test_what_was_written_and_does_not_count_is_dropped(photos, loaded, tmp_path):
    """As of a run that was killed before it said that its rows count."""
    folder = tmp_path / "i"
    index(photos[:20], folder, loaded)
    before = (folder / CONFIG).read_bytes()
    index(photos, folder, loaded)
    (folder / CONFIG).write_bytes(before)
    assert names_of(folder) == [*map(str, photos[:20])]
    assert index(photos[:21], folder, loaded) == IndexChanges(1, 0, 0)
    assert names_of(folder) == [*map(str, photos[:21])]


def test_a_table_that_never_counted_is_removed(photos, loaded, tmp_path):
    folder = tmp_path / "i"
    index(photos[:3], folder, loaded)
    (folder / CONFIG).unlink()
    assert index(photos[3:5], folder, loaded) == IndexChanges(2, 0, 0)
    assert names_of(folder) == [*map(str, photos[3:5])]


def test_nothing_is_left_of_an_index_of_nothing(loaded, tmp_path):
    with pytest.raises(DataError, match="no photo could be read"):
        index_photos(
            [tmp_path / "nowhere.png"], tmp_path / "i", loaded, lambda: None, lambda _: None,
            Scope(engine="lance"),
        )  # fmt: skip
    assert not (tmp_path / "i").exists()


def test_new_heads_make_new_vectors_of_the_features_that_are_there(photos, loaded, tmp_path):
    folder = tmp_path / "i"
    index(photos, folder, loaded)
    before = {n: open_index(folder).take("vectors", np.array([r]))[0] for r, n in rows(folder)}
    other = with_other_heads(loaded)
    assert index([], folder, other) == IndexChanges(0, 0, 0)
    assert config_of(folder)["heads"] == other.heads.fingerprint
    for row, name in rows(folder):
        now = open_index(folder).take("vectors", np.array([row]))[0]
        np.testing.assert_allclose(now, before[name] * np.array([-1, 1, 1]), atol=1e-6)
    assert names_of(folder) == [*map(str, photos)]


def rows(folder):
    return list(open_index(folder).names())


def test_many_small_files_are_merged_and_old_ones_removed(photos, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(lance_writer, "FRAGMENTS", 4)
    monkeypatch.setattr(feature_writer, "ROWS", 5)
    folder = tmp_path / "i"
    index(photos[:15], folder, loaded)
    assert open_index(folder).table.stats()["fragment_stats"]["num_fragments"] == 3
    index(photos, folder, loaded)
    store = open_index(folder)
    assert store.table.stats()["fragment_stats"]["num_fragments"] == 1
    assert len(list((table_folder(folder) / "data").iterdir())) == 1
    assert names_of(folder) == [*map(str, photos)]


def test_files_that_somebody_reads_stay(photos, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(lance_writer, "FRAGMENTS", 2)
    folder = tmp_path / "i"
    index(photos[:15], folder, loaded)
    reader = PhotoIndex.load(folder)
    before, files = reader.search("a red wall", top=30), files_of(folder)
    index(photos, folder, loaded)
    assert files < files_of(folder)
    assert reader.search("a red wall", top=30) == before
    del reader
    index(photos[:29], folder, loaded, prune=True)
    photos[29].unlink()
    index(photos[:29], folder, loaded, prune=True)
    shutil.copy(photos[0], photos[29])
    index(photos, folder, loaded)
    assert not files & {file for file in files_of(folder) if file.parent.name == "data"}


def test_a_batch_that_was_interrupted_is_not_written_twice(photos, loaded, tmp_path, monkeypatch):
    """LanceDB goes on in a thread of its own, so it may be there or not."""
    monkeypatch.setattr(feature_writer, "ROWS", 10)
    folder, real = tmp_path / "i", lance_writer.batch_of
    target = []

    def interrupted(rows, config):
        if str(photos[10]) in rows.names:
            target[0]._table.add(real(rows, config))
            raise KeyboardInterrupt
        return real(rows, config)

    write = lance_writer.LanceTarget.write
    monkeypatch.setattr(
        lance_writer.LanceTarget,
        "write",
        lambda self, rows: target.append(self) or write(self, rows),
    )
    monkeypatch.setattr(lance_writer, "batch_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index(photos, folder, loaded)
    assert names_of(folder) == [*map(str, photos[:10])]
    with pytest.raises(DataError, match=r"i: a batch was interrupted; run mrnn index again$"):
        target[0].commit(())
    monkeypatch.setattr(lance_writer, "batch_of", real)
    assert index(photos, folder, loaded) == IndexChanges(20, 0, 0)
    assert names_of(folder) == [*map(str, photos)]


def test_a_version_that_is_gone_is_not_called_damaged(photos, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(lance_writer, "FRAGMENTS", 2)
    monkeypatch.setattr(lance_writer, "KEPT", lance_writer.AT_ONCE)
    folder = tmp_path / "i"
    index(photos[:15], folder, loaded)
    reader = PhotoIndex.load(folder)
    index(photos, folder, loaded)
    with pytest.raises(DataError, match=r"i has changed since it was opened; open it again$"):
        reader.search("a red wall")
    assert len(PhotoIndex.load(folder).search("a red wall", top=30)) == 30


def test_a_large_index_gets_an_ann_index_and_keeps_it_up_to_date(
    photos, loaded, model_with_heads, tmp_path, monkeypatch
):
    many = []
    for number in range(300):
        many.append(photos[0].with_name(f"many-{number:03}.png"))
        shutil.copy(photos[number % 30], many[-1])
    monkeypatch.setattr(lance_writer, "ANN_ROWS", 256)
    monkeypatch.setattr(lance_writer, "ROWS_OF_PARTITION", 64)
    monkeypatch.setattr(lance_writer, "UNINDEXED", 20)
    monkeypatch.setattr(lance_writer, "SAMPLE", 256)
    folder = tmp_path / "i"
    index(many[:200], folder, loaded)
    assert config_of(folder)["partitions"] == 0
    index(many[:270], folder, loaded)
    assert config_of(folder)["partitions"] == 4
    stats = open_index(folder).table.index_stats("vectors_idx")
    assert (stats.num_indexed_rows, stats.num_unindexed_rows) == (270, 0)
    index(many[:280], folder, loaded)
    assert open_index(folder).table.index_stats("vectors_idx").num_unindexed_rows == 10
    index(many, folder, loaded)
    assert open_index(folder).table.index_stats("vectors_idx").num_unindexed_rows == 0
    assert config_of(folder)["partitioned"] == 270
    expected = PhotoIndex.build(many, tmp_path / "n", model_with_heads)
    found = PhotoIndex.load(folder)
    for query in ("a red wall", photos[3]):
        exact = expected.search(query, top=60)
        assert found.search(query, top=60, effort=100.0) == exact
        near = {each.path for each in found.search(query, top=60)}
        assert len(near & {each.path for each in exact}) >= 57


@pytest.fixture
def partitioned(photos, loaded, tmp_path, monkeypatch):
    """An index of four partitions that was merged since; its photos are of four colours."""
    many = []
    for number in range(300):
        colour = sorted({photo.name[-8:] for photo in photos})[number % 3]
        like = next(photo for photo in photos if photo.name.endswith(colour))
        folder = photos[0].parent / f"{number % 3}"
        folder.mkdir(exist_ok=True)
        many.append(Path(shutil.copy(like, folder / f"many-{number:03}.png")))
    monkeypatch.setattr(lance_writer, "ANN_ROWS", 256)
    monkeypatch.setattr(lance_writer, "ROWS_OF_PARTITION", 64)
    monkeypatch.setattr(lance_writer, "UNINDEXED", 5)
    monkeypatch.setattr(lance_writer, "SAMPLE", 256)
    for end in (270, 280, 300):
        index(many[:end], tmp_path / "i", loaded)
    return tmp_path / "i"


def searched(folder, least, most):
    table = open_index(folder).table
    query = table.search(np.eye(3, dtype=np.float32)[0], vector_column_name="vectors").limit(300)
    plan = query.minimum_nprobes(least).maximum_nprobes(most).analyze_plan()
    return int(re.findall(r"partitions_searched=(\d+)", plan)[0])


def test_partitions_keep_their_size(partitioned):
    """So a search looks at a part of the rows also after files were merged."""
    parts = open_index(partitioned).table.index_stats("vectors_idx").num_indices
    assert searched(partitioned, 1, 1) == parts
    assert searched(partitioned, 1, 0) >= 3 * parts


def test_photos_in_partitions_far_away_are_found(partitioned, monkeypatch):
    for least in ("PROBES", "PLENTY", "FILTERED_ROWS", "FEW"):
        monkeypatch.setattr(lance_store, least, 0)
    every = PhotoIndex.load(partitioned)
    for folder in "012":
        paths = f"*/{folder}/*"
        found = every.search("a red wall", top=50, paths=paths)
        assert {Path(find.path).parent.name for find in found} == {folder}
        assert len(found) == 50


def test_a_reader_sees_the_rows_before_or_after(photos, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_writer, "ROWS", 10)
    seen, real = [], OnnxEncoder.encode
    folder = tmp_path / "i"

    def encode(self, pixels):
        if (folder / CONFIG).exists():
            seen.append(len(open_index(folder)))
        return real(self, pixels)

    monkeypatch.setattr(OnnxEncoder, "encode", encode)
    index(photos, folder, loaded)
    assert set(seen) == {10, 20}


SLOWLY = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mrnn.data.feature_store import writer
from mrnn.model import image_encoder
from mrnn.retrieval.index import lance_store, lance_writer
from mrnn.retrieval.index.index import RetrievalModel
from mrnn.retrieval.index.folder import Scope
from mrnn.retrieval.index.writer import index_photos

image_encoder.SHIPPED = Path(sys.argv[2])
writer.ROWS, lance_writer.FRAGMENTS = 2, 4
real = image_encoder.OnnxEncoder.encode
image_encoder.OnnxEncoder.encode = lambda self, p: time.sleep(0.02) or real(self, p)
commit = lance_writer.LanceTarget.commit
def acknowledged(self, removed):
    commit(self, removed)
    print(self._table.count_rows(), flush=True)
lance_writer.LanceTarget.commit = acknowledged
model = RetrievalModel.load(Path(sys.argv[3]))
print("ready", flush=True)
photos = sys.stdin.read().splitlines()
index_photos(photos, Path(sys.argv[4]), model, lambda: None, print, Scope(engine="lance"))
"""


@pytest.mark.slow
def test_killed_while_it_upserts_it_loses_no_batch_that_counted(
    photos, loaded, model_with_heads, tmp_path
):
    """A reader finds whole batches meanwhile; in the end the answers are those of one left alone.

    Photos change between the runs, so rows are replaced too.
    """
    from mrnn.model.image_encoder import SHIPPED

    folder, kills, moments = tmp_path / "i", 0, np.random.default_rng(0)
    command = [
        sys.executable, "-c", SLOWLY, str(Path(__file__).parents[2]), str(SHIPPED),
        str(model_with_heads), str(folder),
    ]  # fmt: skip
    for attempt in range(40):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.stdin.write("\n".join(map(str, photos)))
            process.stdin.close()
            time.sleep(moments.uniform(0.02, 0.6))
            if (folder / CONFIG).exists():  # while it writes
                seen = open_index(folder)
                assert len({name for _, name in seen.names()}) == len(seen)
            process.send_signal(signal.SIGKILL)
            acknowledged = [int(line) for line in process.stdout.read().split() if line.isdigit()]
        kills += process.returncode == -signal.SIGKILL
        if (folder / CONFIG).exists():
            found = names_of(folder)
            assert len(set(found)) == len(found)
            if acknowledged:
                assert len(found) in (acknowledged[-1], min(acknowledged[-1] + 2, 30))
        if process.returncode == 0 or kills >= 12:
            break
        if attempt % 3 == 2:
            shutil.copy(photos[attempt], photos[attempt + 1])
    assert kills >= 5
    index(photos, folder, loaded)
    left_alone = PhotoIndex.build(photos, tmp_path / "whole", model_with_heads, engine="lance")
    killed = PhotoIndex.load(folder)
    for query in ("a red wall", photos[3]):
        found, expected = (each.search(query, top=30) for each in (killed, left_alone))
        assert sorted((r.path, r.score) for r in found) == sorted(
            (r.path, r.score) for r in expected
        )


def test_killed_while_old_versions_are_removed(photos, loaded, tmp_path, monkeypatch):
    """Then the last version counts, and the next run goes on from it."""
    monkeypatch.setattr(lance_writer, "FRAGMENTS", 1)
    folder = tmp_path / "i"
    write, killed = lance_writer.LanceTarget._pin, []

    def pin(self):
        if config_of(folder)["version"] == 0:
            killed.append(True)
            raise KeyboardInterrupt
        write(self)

    index(photos[:15], folder, loaded)
    monkeypatch.setattr(lance_writer.LanceTarget, "_pin", pin)
    with pytest.raises(KeyboardInterrupt):
        index(photos, folder, loaded)
    assert killed
    assert names_of(folder) == [*map(str, photos)]
    monkeypatch.setattr(lance_writer.LanceTarget, "_pin", write)
    assert index(photos, folder, loaded) == IndexChanges(0, 0, 0)
    assert names_of(folder) == [*map(str, photos)]
    assert config_of(folder)["version"] > 0


def test_the_table_has_the_features_of_photos(photos, loaded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    table = connect(tmp_path / "i").open_table(TABLE)
    names = ["path", "folder", "key", "other_key", "stamps", "features", "vectors"]
    assert table.schema.names == names
    folder = f"{photos[0].parent}/"
    assert set(table.to_arrow()["folder"].to_pylist()) == {folder}
