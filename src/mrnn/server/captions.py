"""POST /v1/caption: photos in, the objects of `mrnn caption --json` out."""

import asyncio
import io
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import NamedImage, load_image
from mrnn.errors import MRNNError
from mrnn.server.options import CaptionOptions, caption_options
from mrnn.server.problems import Problem
from mrnn.server.service import Service
from mrnn.server.uploads import FORM, Upload

LINES = "application/jsonl"
LINE_TYPES = (LINES, "application/x-ndjson")
NAME = "name"
"""The parameter with the name of a photo that is sent as the body."""
THUMBNAIL_SIDE = 320
"""Longest side of a thumbnail, in pixels."""
THUMBNAILS_AT_ONCE = 2

Results = AsyncIterator[tuple[str, ImageCaptions | Exception]]
"""Of each photo its name, and its captions or what went wrong."""


class Captions:
    """Endpoints for photos that are sent."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._drawing = asyncio.Semaphore(THUMBNAILS_AT_ONCE)

    async def post(self, request: Request) -> Response:
        """One photo as the body gives one object; a form of photos gives a list, or lines."""
        query = request.query_params.multi_items()
        given = [(name, value) for name, value in query if name != NAME]
        checkpoint = self._service.captioner.checkpoint
        caption_options(given, checkpoint)  # before the photos have come
        self._check_queue()
        upload = await self._receive(request)
        try:
            _check_photos(upload)
            options = caption_options(given + upload.fields, checkpoint)
        except Problem:
            upload.discard()
            raise
        results = self._results(request, upload, options)
        if not _is_form(request):
            return Response(await _only(results), media_type="application/json")
        if any(kind in request.headers.get("accept", "") for kind in LINE_TYPES):
            return StreamingResponse(_lines(results), media_type=LINES)
        objects = [_line(name, result) async for name, result in results]
        return Response(f"[{', '.join(objects)}]\n", media_type="application/json")

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG of a photo that the browser cannot show."""
        upload = await self._receive(request)
        try:
            if len(upload.photos) != 1:
                raise Problem(HTTPStatus.BAD_REQUEST, "send one photo")
            async with self._drawing:
                content = await asyncio.to_thread(thumbnail_of, upload.photos[0], THUMBNAIL_SIDE)
        finally:
            upload.discard()
        return Response(content, media_type="image/jpeg")

    async def _receive(self, request: Request) -> Upload:
        name = request.query_params.get(NAME) or "photo"
        upload = await self._service.spool.receive(request, name)
        if not _is_form(request) and not upload.size:
            upload.discard()
            raise Problem(HTTPStatus.BAD_REQUEST, "the body is empty; send a photo")
        return upload

    def _check_queue(self) -> None:
        """Refuses early, before a photo is received that could not wait."""
        worker = self._service.worker
        if worker.waiting >= worker.queue:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{worker.waiting:,} photos wait already; try again in {worker.retry_after} s",
                headers={"Retry-After": str(worker.retry_after)},
            )

    async def _results(self, request: Request, upload: Upload, options: CaptionOptions) -> Results:
        names = [photo.name for photo in upload.photos]
        try:
            found = self._service.caption(request, upload.photos, options)
            place = 0
            async for result in found:
                yield names[place], result
                place += 1
        finally:
            upload.close()


def _check_photos(upload: Upload) -> None:
    if not upload.photos:
        line = "the form holds no photo; send at least one part with a file name"
        raise Problem(HTTPStatus.BAD_REQUEST, line)


def thumbnail_of(photo: NamedImage | str, side: int) -> bytes:
    """A JPEG, upright and without metadata. Raises ImageError."""
    image = load_image(photo, least_side=side)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82)
    return stream.getvalue()


async def _only(results: Results) -> str:
    """The line of the only photo. Raises Problem if it has no captions."""
    found = [result async for _, result in results]
    (result,) = found
    if isinstance(result, Exception):
        raise result
    if result.error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, result.error)
    return f"{result.model_dump_json()}\n"


async def _lines(results: Results) -> AsyncIterator[str]:
    async for name, result in results:
        yield f"{_line(name, result)}\n"


def _line(name: str, result: ImageCaptions | Exception) -> str:
    """As the command prints it."""
    if isinstance(result, ImageCaptions):
        return result.model_dump_json()
    known = isinstance(result, MRNNError)
    error = str(result) if known else f"the server failed ({type(result).__name__})"
    return ImageCaptions(image=name, error=error).model_dump_json()


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)
