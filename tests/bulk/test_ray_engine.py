import os
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest

from mrnn.bulk import ray_engine
from mrnn.bulk.ray_engine import Cluster, ShardActor
from mrnn.bulk.run import Summary
from mrnn.bulk.tasks import load_caption_task
from mrnn.bulk.worker import Report
from mrnn.data.shards.making import keyed_photos, make_shards
from mrnn.data.shards.shard import Shard, find_shards
from mrnn.errors import CheckpointError, DataError, MissingExtraError, OptionsError


class RayError(Exception):
    pass


class FakeRay:
    """Actors that answer in their turn; `answers` says what and when, a round at a time."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, answers, workers=2):
        self.answers, self.asked = answers, []
        self.actors = [SimpleNamespace(do=SimpleNamespace(remote=self.ask)) for _ in range(workers)]

    def ask(self, shard, *, backup):
        self.asked.append((shard.name, backup))
        return len(self.asked) - 1

    def wait(self, references, timeout):
        ready = [ref for ref in references if self.answers(*self.asked[ref]) is not None]
        return ready[:1], ready[1:]

    def get(self, reference):
        answer = self.answers(*self.asked[reference])
        if isinstance(answer, RayError):
            raise answer
        return answer, ["told"]


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by sleeping and waiting only."""
    now = SimpleNamespace(time=0.0)

    def sleep(seconds):
        now.time += seconds

    fake = SimpleNamespace(monotonic=lambda: now.time, sleep=sleep)
    monkeypatch.setattr(ray_engine, "time", fake)
    return now


def run(answers, names="abc", workers=2, ray=None):
    ray = ray or FakeRay(answers, workers)
    told, done = [], []
    shards = deque(Shard(name, f"{name}.tar", "tar") for name in names)
    work = ray_engine._Run(ray, shards, ray.actors, lambda: done.append(1), told.append)
    summary = work.all()
    assert len(done) == len(names)
    return summary, told, ray.asked


def test_each_shard_is_done_once(clock):
    summary, told, asked = run(lambda name, backup: Report(name, "done", 5, 1))
    assert summary == Summary(done=3, photos=15, failed_photos=3)
    assert told == ["told"] * 3
    assert sorted(asked) == [("a", False), ("b", False), ("c", False)]


def test_a_shard_that_another_process_does_is_asked_for_again(clock):
    def answers(name, backup):
        busy = name == "b" and clock.time < 1
        return Report(name, "busy" if busy else "kept")

    summary, _, asked = run(answers)
    assert summary == Summary(kept=3)
    assert asked.count(("b", False)) > 2


def test_a_shard_whose_worker_dies_again_and_again_is_a_line(clock):
    def answers(name, backup):
        return (
            RayError("The actor died.\nIt had\ttried.") if name == "a" else Report(name, "done", 1)
        )

    summary, told, _ = run(answers)
    assert (summary.done, summary.failed) == (2, ["a"])
    assert "a: its worker died 4 times (The actor died. It had tried.)" in told


@pytest.mark.parametrize("error", [DataError("no"), OSError(28, "No space left on device", "x")])
def test_what_no_worker_can_mend_ends_the_run(clock, error):
    with pytest.raises(type(error)) as raised:
        run(lambda name, backup: error)
    assert raised.value is error


def test_a_straggler_is_given_to_a_second_worker(clock):
    """The first of four shards never comes back; the others take ten seconds each."""
    began = {}

    def answers(name, backup):
        began.setdefault((name, backup), clock.time)
        slow = name == "a" and not backup
        return None if slow or clock.time < began[name, backup] + 10 else Report(name, "done", 1)

    class Waits(FakeRay):
        def wait(self, references, timeout):
            clock.time += timeout
            return super().wait(references, timeout)

    summary, _, asked = run(answers, "bcda", ray=Waits(answers))
    assert summary == Summary(done=4, photos=4)
    assert [each for each in asked if each[0] == "a"] == [("a", False), ("a", True)]
    assert 30 < began["a", True] - began["a", False] < 40


def test_a_late_answer_of_a_shard_that_is_settled_is_passed_over(clock):
    """Both answer at last, the second worker first; another shard is still running then."""

    def answers(name, backup):
        if name == "b":
            return Report(name, "done", 1)
        if name == "c":
            return Report(name, "done", 1) if clock.time > 90 else None
        return Report(name, "done", 1) if clock.time > (60 if backup else 80) else None

    class Waits(FakeRay):
        def wait(self, references, timeout):
            clock.time += timeout
            return super().wait(references, timeout)

    summary, _, asked = run(answers, "abc", ray=Waits(answers, workers=3))
    assert summary == Summary(done=3, photos=3)
    assert ("a", True) in asked


def test_an_actor_loads_once_and_gives_errors_as_results(caption_task, shards, tmp_path):
    loads = []

    def load():
        loads.append(1)
        return caption_task()

    actor = ShardActor(load, tmp_path / "out")
    outcomes = [actor.do(each, backup=False) for each in find_shards([str(shards)])]
    assert [report.status for report, _ in outcomes] == ["done"] * 4
    assert loads == [1]

    def fail():
        raise CheckpointError("no model on this node")

    outcome, _ = ShardActor(fail, tmp_path / "out").do(find_shards([str(shards)])[0], backup=False)
    assert isinstance(outcome, CheckpointError)


def test_a_second_worker_may_do_what_the_first_holds(caption_task, shards, tmp_path):
    actor = ShardActor(caption_task, tmp_path / "out")
    shard = find_shards([str(shards)])[0]
    actor.do(find_shards([str(shards)])[1], backup=False)
    with actor._worker._folder.lock(shard.name):
        assert actor.do(shard, backup=False)[0].status == "busy"
        assert actor.do(shard, backup=True)[0].status == "done"


def test_the_task_of_another_machine_is_the_same(caption_task, model_with_heads):
    task = caption_task()
    other = load_caption_task(model_with_heads, None, task.decoding, task.reranking)
    assert other.job == task.job


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense", "h:99999"])
def test_a_cluster_that_is_not_there(address):
    cluster = Cluster(address)
    with pytest.raises(
        OptionsError, match=rf"^--address {address}: no Ray cluster answers \(.+\); "
    ):
        cluster.connected().__enter__()


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None)
    cluster = Cluster()
    with pytest.raises(MissingExtraError, match=r"needs Ray\. Run: pip install 'mrnn\[ray\]'"):
        cluster.connected().__enter__()


MARK = "MRNN_TEST_OF_RAY"
SHARDS = 16


@pytest.fixture
def job(colour_encoder, model_with_heads, colours, tmp_path):
    """Begins the command on many small shards; the rest of its options are given."""
    photos = [each.path for each in colours.images]
    for number in range(SHARDS):
        some = [photos[(number + place) % len(photos)] for place in range(12)]
        make_shards(
            keyed_photos(some, [tmp_path / "photos"]), tmp_path / f"made-{number}", 12,
            lambda: None, pytest.fail,
        )  # fmt: skip
        (tmp_path / "many").mkdir(exist_ok=True)
        made = tmp_path / f"made-{number}" / "shard-000000.tar"
        made.rename(tmp_path / "many" / f"shard-{number:06}.tar")
    environment = {**os.environ, MARK: uuid.uuid4().hex, "OMP_NUM_THREADS": "1"}

    def begin(out, *options):
        command = [
            sys.executable, "-m", "mrnn", "caption", f"{tmp_path}/many/*.tar", "--out", out,
            "--model", model_with_heads, "--encoder-file", colour_encoder.file, *options,
        ]  # fmt: skip
        return subprocess.Popen(
            list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True
        )

    begin.mark = environment[MARK]
    yield begin
    for pid in marked(begin.mark):
        os.kill(pid, signal.SIGKILL)


def marked(mark, name=""):
    """The processes of a test, by the first word of their command."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if ours and (folder / "cmdline").read_bytes().startswith(name.encode()):
                yield int(folder.name)
        except OSError:
            continue


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def ends_well(process):
    _, err = process.communicate(timeout=300)
    assert (process.returncode, "Traceback" in err) == (0, False), err
    return err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_killed_workers_and_killed_drivers_do_no_harm(job, tmp_path):
    ends_well(job(tmp_path / "plain"))
    plain = contents(tmp_path / "plain")
    assert len(plain) == SHARDS
    ray = ("--engine", "ray", "--workers", 2)

    out = tmp_path / "out"
    process = job(out, *ray)
    wait_for(lambda: len(contents(out)) >= 2)
    process.kill()
    process.communicate()
    wait_for(lambda: not list(marked(job.mark, "ray::ShardActor")))
    kept = {name: (out / name).stat() for name in contents(out)}
    assert 2 <= len(kept) < SHARDS - 4

    process = job(out, *ray)
    wait_for(lambda: len(contents(out)) > len(kept))
    os.kill(next(marked(job.mark, "ray::ShardActor")), signal.SIGKILL)
    ends_well(process)
    assert contents(out) == plain
    assert {name: (out / name).stat() for name in kept} == kept
    assert {file.name for file in out.iterdir()} == {".mrnn", *plain}

    stats = {name: (out / name).stat() for name in plain}
    assert ends_well(job(out)) == f"{out}: {SHARDS} shards are done already\n"
    assert {name: (out / name).stat() for name in plain} == stats
