"""Shards one after another in this process."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mrnn.bulk.worker import Report, Worker
from mrnn.data.shards.shard import Shard

PAUSE = 2.0
"""Seconds between two looks at shards that other processes do."""


@dataclass
class Summary:
    """What became of all shards."""

    done: int = 0
    kept: int = 0
    """Done before, or meanwhile by another process."""
    failed: list[str] = field(default_factory=list)
    """The names of shards without a result."""
    photos: int = 0
    """In the shards that were done now, with those that failed."""
    failed_photos: int = 0
    faulty: int = 0
    """Shards that were cut short or had one key twice."""

    def add(self, report: Report) -> None:
        """Count a shard."""
        if report.status == "kept":
            self.kept += 1
        elif report.status == "failed":
            self.failed.append(report.shard)
        else:
            self.done += 1
            self.photos += report.photos
            self.failed_photos += report.failed
            self.faulty += report.faulty

    @property
    def good(self) -> bool:
        """Whether nothing was wrong in what was done now."""
        return not (self.failed or self.failed_photos or self.faulty)


def run_shards(
    shards: Iterable[Shard],
    worker: Worker,
    on_shard: Callable[[], None],
    on_problem: Callable[[str], None],
) -> Summary:
    """Do shards in order; those that another process does are waited for in the end.

    If that process dies, they are done here. Raises OSError where a result cannot be written.
    """
    summary, left = Summary(), list(shards)
    while left:
        busy = []
        for shard in left:
            report = worker.do(shard, on_problem)
            if report.status == "busy":
                busy.append(shard)
            else:
                summary.add(report)
                on_shard()
        if len(busy) == len(left):
            time.sleep(PAUSE)
        left = busy
    worker.tidy()
    return summary
