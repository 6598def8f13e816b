import shutil

import pyarrow.parquet as pq
import pytest

from mrnn.bulk.worker import Report, Worker
from mrnn.data.shards.shard import find_shards
from tests.data.shards.photos import write_tar


@pytest.fixture
def worker(caption_task, tmp_path):
    return Worker(tmp_path / "out", caption_task())


def keys(file):
    return pq.read_table(file)["key"].to_pylist()


def test_a_shard_is_done_once(worker, shards, tmp_path):
    shard = find_shards([str(shards)])[0]
    assert worker.do(shard, pytest.fail) == Report("shard-000000", "done", 9)
    result = tmp_path / "out" / "shard-000000.parquet"
    before = result.stat()
    assert worker.do(shard, pytest.fail) == Report("shard-000000", "kept", 9)
    assert result.stat() == before
    assert keys(result) == [photo.key for photo in shard.photos(pytest.fail)]


def test_a_shard_that_another_does_is_left_to_it(worker, shards):
    shard = find_shards([str(shards)])[0]
    with worker._folder.lock(shard.name):
        assert worker.do(shard, pytest.fail).status == "busy"


def test_broken_photos_and_keys_that_come_twice_are_a_line_each(worker, colours, tmp_path):
    good = colours.images[0].path.read_bytes()
    members = [("a.png", good), ("b.jpg", b"no photo"), ("c.png", good), ("a.jpg", good)]
    (shard,) = find_shards([str(write_tar(tmp_path / "x.tar", members))])
    told = []
    assert worker.do(shard, told.append) == Report("x", "done", 3, 1, faulty=True)
    assert [line.partition(": ")[0] for line in told] == [str(tmp_path / "x.tar")] * 2
    assert sorted(line.split(": ", 1)[1][:28] for line in told) == [
        "b: not a photo (it begins wi", "two photos have the key a; t",
    ]  # fmt: skip
    assert keys(tmp_path / "out" / "x.parquet") == ["a", "b", "c"]


def test_a_cut_shard_gives_what_it_holds_and_may_be_mended(worker, shards, tmp_path):
    file = shards / "shard-000000.tar"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    (shard,) = find_shards([str(file)])
    told = []
    report = worker.do(shard, told.append)
    assert (report.status, report.faulty, report.failed) == ("done", True, 0)
    cut = f"{file}: damaged or cut short after {report.photos} photos; copy it again"
    assert told == [cut]
    assert worker.do(shard, pytest.fail).status == "kept"
    file.write_bytes(whole)
    assert worker.do(shard, pytest.fail) == Report("shard-000000", "done", 9)
    assert len(keys(tmp_path / "out" / "shard-000000.parquet")) == 9


@pytest.mark.parametrize("content", [b"no tar", "empty", "missing"])
def test_a_shard_without_photos_has_no_result(worker, tmp_path, content):
    file = tmp_path / "x.tar"
    if content == "empty":
        write_tar(file, [("a.txt", b"")])
    elif content != "missing":
        file.write_bytes(content)
    told = []
    (shard,) = find_shards([str(file)])
    assert worker.do(shard, told.append) == Report("x", "failed")
    assert len(told) == 1
    assert told[0].startswith(f"{file}: ")
    assert not (tmp_path / "out" / "x.parquet").exists()


def test_another_shard_of_the_same_name_is_refused(worker, shards, tmp_path):
    (shard, other, *_) = find_shards([str(shards)])
    worker.do(shard, pytest.fail)
    content = (tmp_path / "out" / "shard-000000.parquet").read_bytes()
    shutil.copy(other.location, shard.location)
    told = []
    assert worker.do(shard, told.append).status == "failed"
    assert "is of another shard named shard-000000; give another folder" in told[0]
    assert (tmp_path / "out" / "shard-000000.parquet").read_bytes() == content


def test_a_full_disk_leaves_what_was_done(worker, shards, tmp_path, limited):
    first, second, *_ = find_shards([str(shards)])
    worker.do(first, pytest.fail)
    with limited(1000), pytest.raises(OSError, match="File too large"):
        worker.do(second, pytest.fail)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {".mrnn", "shard-000000.parquet"}
    assert worker.do(second, pytest.fail).status == "done"
