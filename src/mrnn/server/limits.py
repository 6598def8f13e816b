"""How much a client may ask for, and how long it may take."""

from dataclasses import dataclass, replace

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What a server bears; beyond it a request is refused with one clear line."""

    body: int = 200 * MEBIBYTE
    """Bytes of a request."""
    photo: int = 50 * MEBIBYTE
    """Bytes of a photo."""
    photos: int = 200
    """Photos of a request."""
    queue: int = 1000
    """Photos that wait for the model, of all requests."""
    spool: int = 1024 * MEBIBYTE
    """Bytes of all requests that are being received or wait."""
    seconds: float = 300.0
    """Until a request is answered."""
    upload_seconds: float = 30.0
    """Until a request has come, if it is slower than `upload_rate`."""
    upload_rate: int = 16 * 1024
    """Bytes a second, which a request may fall short of for `upload_seconds`."""
    fields: int = 100
    """Of a form, beside its photos."""
    searches: int = 64
    """Searches that run or wait."""

    def with_photos_of(self, megabytes: int) -> "Limits":
        """For photos as large as that; a request may be no smaller."""
        photo = megabytes * MEBIBYTE
        return replace(self, photo=photo, body=max(self.body, photo + MEBIBYTE))
