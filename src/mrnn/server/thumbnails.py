"""Small JPEGs of photos, upright and without metadata."""

import asyncio
import io

from starlette.responses import Response

from mrnn.data.images import NamedImage, load_image

AT_ONCE = 2


class Thumbnails:
    """Makes a few at a time, so that the model keeps its processors."""

    side = 320
    """Longest side, in pixels, unless another is asked for."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def answer(self, photo: NamedImage, side: int) -> Response:
        """A JPEG. Raises ImageError."""
        async with self._turns:
            content = await asyncio.to_thread(thumbnail_of, photo, side)
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(content, headers=headers, media_type="image/jpeg")


def thumbnail_of(photo: NamedImage, side: int) -> bytes:
    """A JPEG whose longest side is that long at most. Raises ImageError."""
    image = load_image(photo, least_side=side)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82)
    return stream.getvalue()
