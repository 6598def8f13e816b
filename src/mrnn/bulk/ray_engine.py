"""Shards on a Ray cluster: a task a shard, on actors that load the model once.

A shard whose worker dies is done again by its successor; one that takes much longer than the others
is given to a second worker, and the first result counts. Both write the same bytes.
"""

import logging
import os
import re
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mrnn.bulk.run import PAUSE, Summary
from mrnn.bulk.tasks import Task
from mrnn.bulk.worker import Report, Worker
from mrnn.data.shards.shard import Shard
from mrnn.errors import MissingExtraError, MRNNError, OptionsError
from mrnn.outputs import remove_leftovers

RETRIES = 3
"""So often a shard is done again after its worker died."""
STRAGGLES = 3.0
"""A shard that has taken so many times the median is given to a second worker."""
PATIENCE = 10.0
"""Seconds to wait for a cluster to answer."""
LEAST_SECONDS = 30.0
"""What takes less is no straggler."""

Outcome = tuple[Report | MRNNError | OSError, list[str]]
"""Of a shard, and the lines about what is wrong with it."""


class ShardActor:
    """A worker in a process of its own. Errors are results: they keep their one line."""

    def __init__(self, load: Callable[[], Task], out: Path) -> None:
        self._load, self._out = load, out
        self._worker: Worker | None = None

    def do(self, shard: Shard, *, backup: bool) -> Outcome:
        """See `Worker.do`."""
        problems: list[str] = []
        try:
            self._worker = self._worker or Worker(self._out, self._load())
            return self._worker.do(shard, problems.append, backup=backup), problems
        except (MRNNError, OSError) as error:
            return error, problems


def run_on_ray(
    shards: Sequence[Shard],
    load: Callable[[], Task],
    out: Path,
    cluster: "Cluster",
    on_shard: Callable[[], None],
    on_problem: Callable[[str], None],
) -> Summary:
    """As `run_shards`, on actors that `load` the task.

    Raises OptionsError where there is no cluster, MissingExtraError without Ray, and what a worker
    raises.
    """
    with cluster.connected() as ray:
        count = min(cluster.workers or int(ray.cluster_resources().get("CPU", 1)), len(shards))
        actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)(ShardActor)
        actors = [actor.remote(load, out.absolute()) for _ in range(count)]
        summary = _Run(ray, deque(shards), actors, on_shard, on_problem).all()
        for each in actors:
            ray.kill(each)
    remove_leftovers(out)
    return summary


@dataclass(frozen=True)
class Cluster:
    """Where to run: a cluster that is there, or one of this machine for this run."""

    address: str | None = None
    workers: int | None = None
    """By default one a processor."""

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """The module of Ray, connected. Raises OptionsError and MissingExtraError."""
        if find_spec("ray") is None:
            raise MissingExtraError("--engine ray needs Ray. Run: pip install 'mrnn[ray]'")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # or it tells its makers of each run
        import ray

        try:
            self._knock()
            ray.init(
                self.address or "local", num_cpus=None if self.address else self.workers,
                include_dashboard=None if self.address else False, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise OptionsError(
                f"--address {self.address}: no Ray cluster answers ({reason:.120}); start one by "
                "ray start --head, set its RAY_AUTH_TOKEN if it has one, or leave out --address"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()

    def _knock(self) -> None:
        """Raises OSError where nothing listens: Ray itself would try for minutes."""
        found = re.fullmatch(r"(?:ray://)?(.+):([0-9]{1,5})", self.address or "")
        if found:
            socket.create_connection((found[1], int(found[2])), PATIENCE).close()


@dataclass
class _Try:
    """A shard in the hands of an actor."""

    shard: Shard
    actor: Any
    since: float
    backup: bool


@dataclass
class _Run:
    """Hands shards to actors that are idle, until each has a result."""

    ray: Any
    queue: deque[Shard]
    idle: list[Any]
    on_shard: Callable[[], None]
    on_problem: Callable[[str], None]
    running: dict[Any, _Try] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    """That shards took."""
    settled: set[str] = field(default_factory=set)
    summary: Summary = field(default_factory=Summary)

    def all(self) -> Summary:
        """Until every shard is settled."""
        total = len(self.queue)
        while len(self.settled) < total:
            while self.idle and self.queue:
                self._start(self.queue.popleft(), backup=False)
            if self.idle and (late := self._straggler()):
                self._start(late, backup=True)
            if not self.running:
                time.sleep(PAUSE)
                continue
            ready, _ = self.ray.wait(list(self.running), timeout=PAUSE)
            for reference in ready:
                self._finish(reference)
        return self.summary

    def _start(self, shard: Shard, *, backup: bool) -> None:
        actor = self.idle.pop()
        reference = actor.do.remote(shard, backup=backup)
        self.running[reference] = _Try(shard, actor, time.monotonic(), backup)

    def _straggler(self) -> Shard | None:
        """A shard that takes too long, and that no second worker has yet."""
        if not self.seconds:
            return None
        limit = max(LEAST_SECONDS, STRAGGLES * statistics.median(self.seconds))
        doubled = {each.shard.name for each in self.running.values() if each.backup}
        now = time.monotonic()
        for each in self.running.values():
            if each.shard.name not in doubled | self.settled and now - each.since > limit:
                return each.shard
        return None

    def _finish(self, reference: Any) -> None:  # noqa: ANN401
        done = self.running.pop(reference)
        self.idle.append(done.actor)
        name = done.shard.name
        try:
            outcome, problems = self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            outcome = Report(name, "failed")
            problems = [f"{name}: its worker died {RETRIES + 1} times ({reason:.150})"]
        if name in self.settled:
            return
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.status == "busy":
            self.queue.append(done.shard)
            time.sleep(PAUSE / 20)
            return
        self.settled.add(name)
        self.seconds.append(time.monotonic() - done.since)
        for line in problems:
            self.on_problem(line)
        self.summary.add(outcome)
        self.on_shard()
