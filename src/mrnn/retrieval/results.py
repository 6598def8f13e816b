"""What a search finds."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from mrnn.data.feature_store.keys import keys_of
from mrnn.errors import counted


class SearchResult(BaseModel):
    """One find."""

    model_config = ConfigDict(frozen=True)

    rank: int
    """From 1."""
    path: str | None = None
    sentence: str | None = None
    score: float
    """For photos like a photo the cosine, -1 to 1; else nats, which compare finds of one query."""


def photo_id(path: str) -> str:
    """What names a photo of an index without its path: 32 hexadecimal digits."""
    return keys_of([path]).astype("<u8").tobytes().hex()


def note_of_away(away: Sequence[str], results: Sequence[SearchResult]) -> str:
    """A line about finds that are away."""
    finds = counted(len(away), "find is", "finds are")
    left_out = "" if results and results[0].path == away[0] else " and left out"
    return f"{finds} away{left_out}, as {away[0]}; mrnn index --prune forgets what is away"
