import os

import pyarrow.parquet as pq
import pytest

from mrnn.bulk import run as module
from mrnn.bulk.run import Summary, run_shards
from mrnn.bulk.tasks import CaptionTask
from mrnn.bulk.worker import Report, Worker
from mrnn.captioning.captioner import Captioner
from mrnn.data.shards.shard import find_shards, part_of
from mrnn.locks import try_lock


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


def run(shards, worker):
    count = []
    summary = run_shards(find_shards([str(shards)]), worker, lambda: count.append(1), pytest.fail)
    assert len(count) == 4
    return summary


def test_run_again_nothing_is_touched(caption_task, shards, tmp_path):
    worker = Worker(tmp_path / "out", caption_task())
    assert run(shards, worker) == Summary(done=4, photos=30)
    for file in (tmp_path / "out").glob("*.parquet"):
        os.utime(file, (1, 1))
    assert run(shards, worker) == Summary(kept=4)
    assert {file.stat().st_mtime for file in (tmp_path / "out").glob("*.parquet")} == {1}


def test_parts_make_the_same_bytes(caption_task, shards, tmp_path):
    found = find_shards([str(shards)])
    run(shards, Worker(tmp_path / "all", caption_task()))
    for part in (3, 1, 2):
        worker = Worker(tmp_path / "parts", caption_task())
        run_shards(part_of(found, (part, 3)), worker, lambda: None, pytest.fail)
    assert contents(tmp_path / "parts") == contents(tmp_path / "all")


def test_a_shard_that_another_does_is_waited_for(caption_task, shards, tmp_path, monkeypatch):
    worker = Worker(tmp_path / "out", caption_task())
    lock = worker._folder.lock("shard-000001")
    lock.__enter__()
    pauses = []

    def pause(seconds):
        pauses.append(len(contents(tmp_path / "out")))
        if len(pauses) == 2:  # it died
            lock.__exit__(None, None, None)

    monkeypatch.setattr(module.time, "sleep", pause)
    assert run(shards, worker) == Summary(done=4, photos=30)
    assert pauses == [3, 3]


def test_what_a_process_left_that_died_meanwhile_is_removed(caption_task, shards, tmp_path):
    out = tmp_path / "out"
    worker = Worker(out, caption_task())
    worker.do(find_shards([str(shards)])[0], pytest.fail)
    (out / ".mrnn-new-0123456789abcdef").write_bytes(b"half")
    with (out / ".mrnn-new-fedcba9876543210").open("wb") as writing:
        assert try_lock(writing)
        run(shards, worker)
        left = {file.name for file in out.iterdir()}
    assert left == {".mrnn", ".mrnn-new-fedcba9876543210", *contents(out)}


def test_what_was_wrong_is_counted():
    summary = Summary()
    for report in (
        Report("a", "done", 5, 2), Report("b", "failed"), Report("c", "kept", 9, 9),
        Report("d", "done", 1, faulty=True),
    ):  # fmt: skip
        summary.add(report)
    assert summary == Summary(2, 1, ["b"], 6, 2, 1)
    assert not summary.good
    assert Summary(kept=3, done=2).good


def work(model, encoder_file, shards, out):
    captioner = Captioner.load(model, encoder_file=encoder_file)
    config = captioner.checkpoint.config
    worker = Worker(out, CaptionTask(captioner, config.decoding, config.reranking))
    run_shards(find_shards([str(shards)]), worker, lambda: None, pytest.fail)


@pytest.mark.slow
def test_processes_share_the_work_and_a_killed_one_does_no_harm(
    caption_task, colour_encoder, shards, tmp_path, processes, killed
):
    task = caption_task()
    run(shards, Worker(tmp_path / "plain", task))
    out = tmp_path / "out"
    arguments = (task.captioner.checkpoint.folder, colour_encoder.file, shards, out)
    for seconds in (0.05, 0.1, 0.2, 0.4):
        killed(seconds, work, *arguments)
    started = [processes.Process(target=work, args=arguments) for _ in range(3)]
    for each in started:
        each.start()
    for each in started:
        each.join()
    assert [each.exitcode for each in started] == [0, 0, 0]
    assert contents(out) == contents(tmp_path / "plain")
    assert sum(pq.read_metadata(file).num_rows for file in out.glob("*.parquet")) == 30
    left = {file.name for file in out.iterdir()}
    assert left == {".mrnn", *contents(out)}
