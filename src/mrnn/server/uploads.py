"""What clients send: photos and options, received in bounded memory, time and space.

A photo stays in memory while it is small; then it moves to a temporary file without a name, which
no one else can open. The name that a client gives is a label, and never a path.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mrnn.data.images import NamedImage
from mrnn.errors import printable
from mrnn.server.limits import MEBIBYTE, Limits
from mrnn.server.problems import Problem

IN_MEMORY = 32 * 1024
"""Bytes of a photo above which it goes to a file."""
FORM = "multipart/form-data"
BUSY = {"Retry-After": "10"}
"""For a client that is told to come again."""


@dataclass
class Upload:
    """The photos of a request, and the fields of its form."""

    spool: "Spool"
    photos: list[NamedImage] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0
    """Bytes that came."""

    def only(self) -> NamedImage:
        """Raises Problem if there is another number of photos than one."""
        if len(self.photos) != 1 or not self.size:
            raise Problem(HTTPStatus.BAD_REQUEST, f"{len(self.photos)} photos; send one")
        return self.photos[0]

    def close(self) -> None:
        """Give back its space; who holds its photos closes them."""
        self.spool.taken -= self.size
        self.size = 0

    def discard(self) -> None:
        """Close the photos too."""
        for photo in self.photos:
            photo.file.close()
        self.close()


class Spool:
    """The space that all uploads take together."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.taken = limits, 0

    async def receive(self, request: Request, name: str) -> Upload:
        """A form's files and fields, or a body that is one photo, which `name` is for.

        Raises Problem for what is too large, too slow, too much or no form.
        """
        limits = self.limits
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.body:
            raise _too_large("the request", int(length), limits.body)
        upload = Upload(self)
        try:
            stream = self._bounded(request, upload)
            if request.headers.get("content-type", "").lower().startswith(FORM):
                await _read_form(request, stream, upload, limits)
            else:
                await _read_body(stream, upload, name)
            for photo in upload.photos:
                _check_size(photo, limits.photo)
        except BaseException:
            upload.discard()
            raise
        return upload

    async def _bounded(self, request: Request, upload: Upload) -> AsyncGenerator[bytes, None]:
        """The body, while it stays within the limits."""
        limits, loop = self.limits, asyncio.get_running_loop()
        start = loop.time()
        chunks = request.stream()
        while True:
            due = start + limits.upload_seconds + upload.size / limits.upload_rate
            try:
                async with asyncio.timeout_at(due):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise Problem(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the request came too slowly: {upload.size:,} bytes in "
                    f"{loop.time() - start:.0f} s; send it faster, or a smaller photo",
                ) from None
            if chunk is None:
                return
            upload.size += len(chunk)
            self.taken += len(chunk)
            if upload.size > limits.body:
                raise _too_large("the request", upload.size, limits.body)
            if self.taken > limits.spool:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "too many photos are being sent at once; try again in some seconds",
                    headers=BUSY,
                )
            if chunk:
                yield chunk


class _FormParser(MultiPartParser):
    spool_max_size = IN_MEMORY
    is_whole = False
    """Whether the last boundary came."""

    def on_end(self) -> None:
        self.is_whole = True

    def close(self) -> None:
        """Close the files, also that of a part which did not end."""
        for file in getattr(self, "_files_to_close_on_error", ()):
            file.close()


async def _read_form(
    request: Request, stream: AsyncGenerator[bytes, None], upload: Upload, limits: Limits
) -> None:
    parser = _FormParser(
        request.headers, stream,
        max_files=limits.photos, max_fields=limits.fields, max_part_size=64 * 1024,
    )  # fmt: skip
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            problem = f"more than {limits.photos} photos in one request; send fewer at a time"
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem) from None
        line = printable(error.message).rstrip(".")[:150]
        problem = f"the form cannot be read ({line}); send multipart/form-data"
        raise Problem(HTTPStatus.BAD_REQUEST, problem) from None
    if not parser.is_whole:
        parser.close()
        problem = "the form ends before its last boundary; send it whole"
        raise Problem(HTTPStatus.BAD_REQUEST, problem)
    for key, value in form.multi_items():
        if not isinstance(value, UploadFile):
            upload.fields.append((key, value))
        elif value.filename or value.size:
            file = cast(SpooledTemporaryFile[bytes], value.file)
            upload.photos.append(NamedImage(value.filename or "photo", file))
        else:  # a form in which no file was chosen
            value.file.close()


async def _read_body(stream: AsyncGenerator[bytes, None], upload: Upload, name: str) -> None:
    file = SpooledTemporaryFile[bytes](max_size=IN_MEMORY)  # its reader closes it
    upload.photos.append(NamedImage(name, file))
    async for chunk in stream:
        await _write(file, chunk)


async def _write(file: IO[bytes], chunk: bytes) -> None:
    """On a thread where it goes to the disk."""
    if file.tell() + len(chunk) > IN_MEMORY:
        await asyncio.to_thread(file.write, chunk)
    else:
        file.write(chunk)


def _check_size(photo: NamedImage, limit: int) -> None:
    size = photo.file.seek(0, 2)
    photo.file.seek(0)
    if size > limit:
        raise _too_large(printable(photo.name), size, limit)


def _too_large(what: str, size: int, limit: int) -> Problem:
    most = f"{limit / MEBIBYTE:,.1f}".removesuffix(".0")
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"{what:.150}: too large ({math.ceil(size * 10 / MEBIBYTE) / 10:,.1f} MB); send {most} MB "
        "at most",
    )
