"""POST /v1/caption: photos in, the objects of `mrnn caption --json` out."""

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mrnn.captioning.results import ImageCaptions
from mrnn.errors import MRNNError
from mrnn.server.options import caption_options
from mrnn.server.problems import Problem
from mrnn.server.service import Service
from mrnn.server.thumbnails import Thumbnails
from mrnn.server.uploads import FORM, Upload

LINES = "application/jsonl"
LINE_TYPES = (LINES, "application/x-ndjson")
NAME = "name"
"""The parameter with the name of a photo that is sent as the body."""


class Captions:
    """Endpoints for photos that are sent."""

    def __init__(self, service: Service, thumbnails: Thumbnails) -> None:
        self._service, self._thumbnails = service, thumbnails

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
        results = self._service.caption(request, upload.photos, options, upload.close)
        if not _is_form(request):
            return Response(await caption_line(results), media_type="application/json")
        lines = _lines([photo.name for photo in upload.photos], results)
        if any(kind in request.headers.get("accept", "") for kind in LINE_TYPES):
            return StreamingResponse((f"{line}\n" async for line in lines), media_type=LINES)
        objects = [line async for line in lines]
        return Response(f"[{', '.join(objects)}]\n", media_type="application/json")

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG of a photo that the browser cannot show."""
        upload = await self._receive(request)
        try:
            return await self._thumbnails.answer(upload.only(), self._thumbnails.side)
        finally:
            upload.discard()

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


def _check_photos(upload: Upload) -> None:
    if not upload.photos:
        line = "the form holds no photo; send at least one part with a file name"
        raise Problem(HTTPStatus.BAD_REQUEST, line)


async def caption_line(results: AsyncIterator[ImageCaptions | Exception]) -> str:
    """The line of the only photo. Raises Problem if it has no captions."""
    (result,) = [each async for each in results]
    if isinstance(result, Exception):
        raise result
    if result.error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, result.error)
    return f"{result.model_dump_json()}\n"


async def _lines(
    names: Sequence[str], results: AsyncIterator[ImageCaptions | Exception]
) -> AsyncIterator[str]:
    left = iter(names)
    async for result in results:
        yield _line(next(left), result)


def _line(name: str, result: ImageCaptions | Exception) -> str:
    """As the command prints it."""
    if isinstance(result, ImageCaptions):
        return result.model_dump_json()
    known = isinstance(result, MRNNError)
    error = str(result) if known else f"the server failed ({type(result).__name__})"
    return ImageCaptions(image=name, error=error).model_dump_json()


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)
