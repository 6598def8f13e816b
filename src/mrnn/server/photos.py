"""Endpoints for the index: search, and its photos by their ids, never another file."""

import asyncio
import io
import json
import os
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mrnn.data.image_files.image_format import format_of, head_of
from mrnn.data.images import NamedImage
from mrnn.errors import printable
from mrnn.server.captions import caption_line
from mrnn.server.options import caption_options, number_in, values_of
from mrnn.server.problems import Problem
from mrnn.server.searches import Finds, Searches
from mrnn.server.service import Service
from mrnn.server.thumbnails import Thumbnails

MOST_FINDS = 1000
SMALLEST_SIDE, LARGEST_SIDE = 16, 2048
"""Longest side of a thumbnail that can be asked for, in pixels."""
MEDIA_TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "BMP": "image/bmp",
    "WebP": "image/webp", "TIFF": "image/tiff", "PPM": "image/x-portable-anymap",
    "AVIF": "image/avif", "HEIC": "image/heic", "JPEG 2000": "image/jp2",
}  # fmt: skip
CHUNK = 256 * 1024


class Photos:
    """Endpoints of a server with an index; without one they say so."""

    def __init__(self, service: Service, thumbnails: Thumbnails) -> None:
        self._service, self._thumbnails = service, thumbnails

    async def search(self, request: Request) -> Response:
        """By a sentence, or like a photo of the index."""
        searches = self._searches()
        names = ("q", "like", "top", "paths", "min_score")
        given = _single(request, names)
        if ("q" in given) == ("like" in given):
            line = "give q, a sentence, or like, the id of a photo of the index"
            raise Problem(HTTPStatus.BAD_REQUEST, line)
        if "q" in given:
            return _json(await self._find(searches, given["q"], given))
        path = await searches.path_of(given["like"])
        with open_photo(path) as file:
            return _json(await self._find(searches, NamedImage(str(path), file), given))

    async def search_by_photo(self, request: Request) -> Response:
        """By a photo that is sent."""
        searches = self._searches()
        given = _single(request, ("name", "top", "paths", "min_score"))
        upload = await self._service.spool.receive(request, given.get("name") or "photo")
        try:
            return _json(await self._find(searches, upload.only(), given))
        finally:
            upload.discard()

    async def photo(self, request: Request) -> Response:
        """The file as it is."""
        path = await self._searches().path_of(request.path_params["id"])
        file = open_photo(path)
        kind = format_of(head_of(file))
        file.seek(0)
        if kind not in MEDIA_TYPES:
            file.close()
            line = f"{path}: no longer a photo; run mrnn index again"
            raise Problem(HTTPStatus.GONE, line)
        size = os.fstat(file.fileno()).st_size
        headers = {"Content-Length": str(size), "Content-Security-Policy": "sandbox"}
        content = _chunks(file, size)
        return StreamingResponse(content, headers=headers, media_type=MEDIA_TYPES[kind])

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG of it."""
        given = _single(request, ("side",))
        side = number_in(given, "side", self._thumbnails.side, SMALLEST_SIDE, LARGEST_SIDE)
        path = await self._searches().path_of(request.path_params["id"])
        with open_photo(path) as file:
            return await self._thumbnails.answer(NamedImage(str(path), file), side)

    async def caption(self, request: Request) -> Response:
        """Its captions."""
        checkpoint = self._service.captioner.checkpoint
        options = caption_options(request.query_params.multi_items(), checkpoint)
        path = await self._searches().path_of(request.path_params["id"])
        photo = NamedImage(str(path), open_photo(path))
        results = self._service.caption(request, [photo], options)
        return Response(await caption_line(results), media_type="application/json")

    def _searches(self) -> Searches:
        if self._service.searches is None:
            line = "this server has no index; start it with --index INDEX"
            raise Problem(HTTPStatus.NOT_FOUND, line)
        return self._service.searches

    async def _find(
        self, searches: Searches, query: str | NamedImage, given: Mapping[str, str]
    ) -> Finds:
        top = number_in(given, "top", 10, 1, MOST_FINDS)
        least = given.get("min_score")
        min_score = None if least is None else _score(least)
        return await searches.search(query, top, given.get("paths"), min_score)


def open_photo(path: Path) -> io.BufferedReader:
    """A plain file, opened to be read. Raises Problem for one that is there no longer."""
    try:
        # A pipe that was put in its place must not hold the server up.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError):
        line = f"{path}: no longer there; mrnn index --prune forgets it"
        raise Problem(HTTPStatus.GONE, line) from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise Problem(HTTPStatus.GONE, f"{path}: no longer a photo; run mrnn index again")
    return os.fdopen(number, "rb")


async def _chunks(file: io.BufferedReader, size: int) -> AsyncIterator[bytes]:
    """So many bytes of a file, or fewer where it shrinks meanwhile; the file is then closed."""
    with file:
        while size > 0 and (chunk := await asyncio.to_thread(file.read, min(CHUNK, size))):
            size -= len(chunk)
            yield chunk


def _single(request: Request, names: Sequence[str]) -> dict[str, str]:
    """The parameters of a query, each given once at most."""
    given = values_of(request.query_params.multi_items(), names)
    return {name: values[0] for name, values in given.items()}


def _score(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        line = f"min_score: expected a number, not {printable(text)!r:.60}"
        raise Problem(HTTPStatus.BAD_REQUEST, line, option="min_score") from None


def _json(finds: Finds) -> Response:
    """In ASCII, as the command prints paths that no UTF-8 holds."""
    content: dict[str, Any] = finds.json()
    return Response(json.dumps(content), media_type="application/json")
