"""What the server works with: the model, its worker, the index, limits and counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import InitVar, dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus
from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import NamedImage
from mrnn.server.limits import Limits
from mrnn.server.metrics import Metrics
from mrnn.server.model_facts import model_facts
from mrnn.server.options import CaptionOptions
from mrnn.server.problems import Problem
from mrnn.server.searches import Searches
from mrnn.server.uploads import BUSY, Spool
from mrnn.server.worker import CaptionWorker, Job, QueueFullError


@dataclass
class Service:
    """All of it, for the endpoints."""

    captioner: Captioner
    version: str
    limits: Limits = field(default_factory=Limits)
    index: InitVar[Path | None] = None

    def __post_init__(self, index: Path | None) -> None:
        """Raises DataError and CheckpointError for the index."""
        self.searches = Searches(index, self.captioner, self.limits) if index else None
        with_consensus = Captioner(self.captioner.checkpoint, self.captioner.encoder, Consensus())
        self._captioners = {False: self.captioner, True: with_consensus}
        self._facts = model_facts(self.captioner, self.version)
        self.metrics = Metrics(self.version)
        self.spool = Spool(self.limits)
        self.worker = CaptionWorker(
            lambda options: self._captioners[options.consensus],
            self.limits.queue,
            self.metrics.count_batch,
        )

    async def caption(
        self,
        request: Request,
        photos: Sequence[NamedImage],
        options: CaptionOptions,
        on_end: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[ImageCaptions | Exception]:
        """Captions, or what went wrong, of each photo in order.

        Raises Problem for a full queue or when it takes too long, ClientDisconnect when the client
        leaves. The photos are closed, and `on_end` is called.
        """
        try:
            jobs = self.worker.submit(photos, options)
        except QueueFullError as error:
            for photo in photos:
                photo.file.close()
            on_end()
            again = {"Retry-After": str(self.worker.retry_after)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=again) from None
        gone = asyncio.create_task(_disconnected(request))
        try:
            async with asyncio.timeout(self.limits.seconds):
                for job in jobs:
                    yield await self._result(job, gone)
        except TimeoutError:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"not done within {self.limits.seconds:.0f} s, as others wait too; try again, or "
                "send fewer photos",
                headers=BUSY,
            ) from None
        finally:
            gone.cancel()
            self.worker.cancel(jobs)
            on_end()

    async def _result(self, job: Job, gone: "asyncio.Task[None]") -> ImageCaptions | Exception:
        result = asyncio.wrap_future(job.result)
        either: list[asyncio.Future[Any]] = [result, gone]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            result.cancel()
            raise ClientDisconnect
        try:
            found = result.result()
        except Exception as error:
            self.metrics.count_photo(captioned=False)
            return error
        self.metrics.count_photo(captioned=found.error is None)
        return found

    async def model(self) -> dict[str, Any]:
        """What GET /v1/model says."""
        return self._facts | {
            "limits": {
                "body": self.limits.body,
                "photo": self.limits.photo,
                "photos": self.limits.photos,
            },
            "index": await self.searches.about() if self.searches else None,
        }

    def stop(self, seconds: float) -> None:
        """Finish what runs."""
        self.worker.stop(seconds)
        if self.searches:
            self.searches.close()


async def _disconnected(request: Request) -> None:
    """Returns when the client leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
