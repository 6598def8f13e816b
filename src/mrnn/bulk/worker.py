"""A worker: shard after shard, each to its result."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from mrnn.bulk.job import Finished, OutputFolder
from mrnn.bulk.outputs import open_output
from mrnn.bulk.tasks import Task
from mrnn.data.shards.locations import shown
from mrnn.data.shards.photo import ShardPhoto
from mrnn.data.shards.shard import Shard
from mrnn.errors import DataError, ImageError, MRNNError
from mrnn.outputs import remove_leftovers

Status = Literal["done", "kept", "busy", "failed"]
"""Of a shard: done now, done before, being done by another process, without a result."""


@dataclass(frozen=True)
class Report:
    """What became of a shard."""

    shard: str
    status: Status
    photos: int = 0
    """With those that failed."""
    failed: int = 0
    faulty: bool = False
    """Whether something else was wrong with it: cut short, or one key twice."""


class Worker:
    """Does one task to any number of shards. Several may share a folder, in several processes."""

    def __init__(self, folder: Path, task: Task) -> None:
        """Raises what `OutputFolder.agree` raises."""
        self._task, self._folder = task, OutputFolder(folder, task.job)
        self._folder.agree()

    def do(
        self, shard: Shard, on_problem: Callable[[str], None], *, backup: bool = False
    ) -> Report:
        """Do a shard that is not done yet. `on_problem` gets a line for whatever is wrong.

        With `backup` also one that another process does: both write the same, the first one counts.
        Raises OSError where the result cannot be written.
        """
        with ExitStack() as stack:
            try:
                if not backup:
                    stack.enter_context(self._folder.lock(shard.name))
            except DataError:
                return Report(shard.name, "busy")
            try:
                stamp = shard.stamp()
                if found := self._folder.finished(shard.name, stamp):
                    return Report(shard.name, "kept", found.photos, found.failed)
                return self._make(shard, stamp, on_problem)
            except MRNNError as error:
                on_problem(str(error))
                return Report(shard.name, "failed")

    def tidy(self) -> None:
        """Remove what processes left that were killed after this one had begun."""
        remove_leftovers(self._folder.folder)

    def _make(self, shard: Shard, stamp: str, on_problem: Callable[[str], None]) -> Report:
        """Raises DataError for a shard without a photo."""
        where, photos, failed = shown(shard.location), 0, 0
        reader = _Reader(shard, on_problem)
        there = reader.photos()
        first = next(there, None)
        if first is None:
            raise DataError(reader.damage or f"{where}: holds no photos")
        metadata = self._folder.metadata(shard.name, stamp)
        with open_output(self._folder.result(shard.name), self._task.job, metadata) as add:
            for photo, result in self._task.results(chain([first], there)):
                photos += 1
                if result.error:
                    failed += 1
                    on_problem(str(ImageError(f"{where}: {result.error}")))
                add(photo, result)
        if reader.damage:
            on_problem(reader.damage)
        finished = Finished(
            stamp=stamp, photos=photos, failed=failed, damaged=bool(reader.damage),
            problems=tuple(reader.problems),
        )  # fmt: skip
        self._folder.finish(shard.name, finished)
        return Report(shard.name, "done", photos, failed, bool(reader.problems))


class _Reader:
    """Reads a shard to where it is damaged, and keeps what is wrong with it."""

    def __init__(self, shard: Shard, on_problem: Callable[[str], None]) -> None:
        self._shard, self._on_problem = shard, on_problem
        self.problems: list[str] = []
        self.damage = ""

    def photos(self) -> Iterator[ShardPhoto]:
        """Those before the damage."""
        try:
            yield from self._shard.photos(self._tell)
        except DataError as error:
            self.damage = str(error)
            self.problems.append(self.damage)

    def _tell(self, line: str) -> None:
        self.problems.append(line)
        self._on_problem(line)
