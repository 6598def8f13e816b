"""Photos that arrive in a folder: each is given out once it is whole."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SETTLED = 1.0
"""Seconds in which a photo does not grow before it is read."""
PATIENCE = 10.0
"""Seconds in which a photo does not grow before it is told that it cannot be read."""

_State = tuple[int, int, int]


@dataclass
class _Waiting:
    photo: Path
    state: _State
    due: float
    """When it may be read."""


class Arrivals:
    """Photos that are waited for; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._given: dict[str, _State] = {}
        self._tried: dict[str, _State] = {}

    def add(self, photos: Iterable[Path], now: float) -> None:
        """Photos that are new or have changed, but not those given out as they are now."""
        for photo in photos:
            key, state = os.path.abspath(photo), _state(photo)
            if state and self._given.get(key) != state and key not in self._waiting:
                self._waiting[key] = _Waiting(photo, state, now + SETTLED)

    def ready(self, now: float) -> Iterator[Path]:
        """The photos that have not grown for a while; those that are gone are forgotten."""
        for key, each in list(self._waiting.items()):
            state = _state(each.photo)
            if state is None:
                del self._waiting[key]
            elif state != each.state:
                self._waiting[key] = _Waiting(each.photo, state, now + SETTLED)
            elif now >= each.due:
                del self._waiting[key]
                self._given[key] = state
                yield each.photo

    def wait_longer(self, photo: Path, now: float) -> bool:
        """Wait once more for a photo that cannot be read yet; False if that was done before.

        It may be one whose copying pauses.
        """
        key, state = os.path.abspath(photo), _state(photo)
        if state is None:
            return True  # gone, and no loss
        if self._tried.get(key) == state:
            return False
        self._tried[key] = state
        self._waiting[key] = _Waiting(photo, state, now + PATIENCE)
        return True


def _state(photo: Path) -> _State | None:
    """What changes when a photo is written; None if it is gone."""
    try:
        status = photo.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
