"""The thread that captions: it takes what waits, in batches of photos with the same options."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import NamedImage
from mrnn.errors import MRNNError
from mrnn.server.options import CaptionOptions


@dataclass(frozen=True, eq=False)
class Job:
    """A photo that waits for its captions; the worker closes it."""

    photo: NamedImage
    options: CaptionOptions
    result: "Future[ImageCaptions]" = field(default_factory=Future)


class QueueFullError(MRNNError):
    """More photos wait than the server takes."""


class CaptionWorker:
    """Captions photos on one thread, first come, first served."""

    def __init__(
        self,
        captioners: Callable[[CaptionOptions], Captioner],
        queue: int,
        on_batch: Callable[[float], None] = lambda _: None,
    ) -> None:
        """At most `queue` photos wait; `on_batch` gets the seconds of each batch."""
        self._captioner_for, self.queue, self._on_batch = captioners, queue, on_batch
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._running, self._stopped = 0, False
        self.seconds_a_photo = 0.5
        """As of late; a guess before the first."""
        self._thread = threading.Thread(target=self._work, name="captions", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Finish what is running; what waits is given up after so many seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
        self.cancel(left)

    @property
    def waiting(self) -> int:
        """Photos that wait or run."""
        return len(self._waiting) + self._running

    @property
    def wait(self) -> float:
        """Seconds until a photo that came now would be captioned, about."""
        return self.waiting * self.seconds_a_photo

    def submit(self, photos: Sequence[NamedImage], options: CaptionOptions) -> list[Job]:
        """All of them or none. Raises QueueFullError."""
        jobs = [Job(photo, options) for photo in photos]
        with self._changed:
            if self._stopped or len(self._waiting) + len(jobs) > self.queue:
                raise QueueFullError(
                    f"{len(self._waiting):,} photos wait already, and {self.queue:,} are the most; "
                    f"try again in {self.retry_after} s"
                )
            self._waiting.extend(jobs)
            self._changed.notify_all()
        return jobs

    @property
    def retry_after(self) -> int:
        """Seconds after which a full queue may take photos again."""
        return round(min(max(self.wait / 2, 1), 120))

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Give up those that do not run yet."""
        for job in jobs:
            if job.result.cancel():
                job.photo.file.close()
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.result.cancelled())

    def _work(self) -> None:
        while batch := self._next_batch():
            start = time.perf_counter()
            self._caption(batch)
            seconds = time.perf_counter() - start
            self.seconds_a_photo += 0.3 * (seconds / len(batch) - self.seconds_a_photo)
            self._on_batch(seconds)
            with self._changed:
                self._running = 0

    def _next_batch(self) -> list[Job]:
        """What waits with the options of the first; nothing when the server stops."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._stopped:
                        return []
                    self._changed.wait()
                if batch := self._take(self._waiting[0].options):
                    self._running = len(batch)
                    return batch

    def _take(self, options: CaptionOptions) -> list[Job]:
        """Jobs with these options that were not cancelled."""
        batch: list[Job] = []
        others: list[Job] = []
        while self._waiting and len(batch) < options.batch:
            job = self._waiting.popleft()
            if job.options != options:
                others.append(job)
            elif job.result.set_running_or_notify_cancel():
                batch.append(job)
        self._waiting.extendleft(reversed(others))
        return batch

    def _caption(self, batch: Sequence[Job]) -> None:
        captioner, options = self._captioner_for(batch[0].options), batch[0].options
        photos = [job.photo for job in batch]
        try:
            results = captioner.stream(photos, options.decoding, options.reranking)
            for job, result in zip(batch, results, strict=True):
                with self._changed:  # before its client knows, who may send the next at once
                    self._running -= 1
                job.result.set_result(result)
                job.photo.file.close()
        except Exception as error:  # whatever it is, the next photo is captioned
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                batch[0].photo.file.close()
                return
            for job in [job for job in batch if not job.result.done()]:  # one is to blame
                job.photo.file.seek(0)
                self._caption([job])
