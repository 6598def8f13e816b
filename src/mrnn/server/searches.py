"""The index that is searched; where it was rebuilt meanwhile, the new one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from mrnn.captioning.captioner import Captioner
from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import MRNNError
from mrnn.retrieval.index.index import RetrievalModel
from mrnn.retrieval.query import Query
from mrnn.retrieval.results import SearchResult, note_of_away, photo_id
from mrnn.retrieval.search import PhotoIndex
from mrnn.server.limits import Limits
from mrnn.server.problems import Problem

Stamp = tuple[int, int, int]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Finds:
    """What a search found, best first, and lines about it."""

    results: list[SearchResult]
    notes: list[str]

    def json(self) -> dict[str, Any]:
        """The objects of `mrnn search --json`, with the ids of photos."""
        return {"results": [_with_id(result) for result in self.results], "notes": self.notes}


class Searches:
    """Searches an index, one after the other on a thread of their own."""

    def __init__(self, folder: Path, captioner: Captioner, limits: Limits) -> None:
        """Raises DataError for the index, CheckpointError for one of another model."""
        self._file, self._folder = folder / CONFIG, folder
        self._model = RetrievalModel.of(captioner.checkpoint, captioner.encoder)
        self._stamp = self._stamp_now()
        self._index = PhotoIndex.open(folder, self._model)
        self._problem, self._limits, self._active = "", limits, 0
        self._thread = ThreadPoolExecutor(1, "searches")

    async def search(
        self, query: Query, top: int, paths: str | None, min_score: float | None
    ) -> Finds:
        """As `mrnn search`. Raises MRNNError, and Problem where too many search already."""

        def work() -> Finds:
            index = self._present()
            prepared = index.prepare(query)
            away: list[str] = []
            results = index.search(
                prepared, top, paths=paths, min_score=min_score, on_away=away.append
            )
            notes = [*self._problems(), *prepared.notes]
            return Finds(results, [*notes, note_of_away(away, results)] if away else notes)

        return await self._on_thread(work)

    async def path_of(self, photo: str) -> Path:
        """Raises Problem for what is no photo of the index."""
        found = await self._on_thread(lambda: self._present().path_of(photo))
        if found is None:
            line = f"the index holds no photo {photo!r:.40}; search again"
            raise Problem(HTTPStatus.NOT_FOUND, line)
        return Path(found)

    async def about(self) -> dict[str, Any]:
        """For the page: what the index holds, and what is wrong with a new one."""

        def work() -> dict[str, Any]:
            index = self._present()
            return {"holds": index.holds, "size": len(index), "problem": self._problem or None}

        return await self._on_thread(work)

    def close(self) -> None:
        """Finish what runs."""
        self._thread.shutdown(cancel_futures=True)

    async def _on_thread(self, work: Callable[[], Found]) -> Found:
        if self._active >= self._limits.searches:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._active} searches wait already; try again in a second",
                headers={"Retry-After": "1"},
            )
        self._active += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._active -= 1

    def _present(self) -> PhotoIndex:
        """As it is on the disk; the one before while that cannot be read."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            try:
                self._index = PhotoIndex.open(self._folder, self._model)
                self._problem = ""
            except MRNNError as error:
                self._problem = str(error)
            self._stamp = stamp
        return self._index

    def _problems(self) -> list[str]:
        return [f"This is the index as it was before: {self._problem}"] if self._problem else []

    def _stamp_now(self) -> Stamp | None:
        """Of the file that every change of an index replaces."""
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _with_id(result: SearchResult) -> dict[str, Any]:
    content = result.model_dump(exclude_none=True)
    return content if result.path is None else content | {"id": photo_id(result.path)}
