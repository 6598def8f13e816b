"""Warnings and log lines of Pillow: silent while we read a photo, and as ever for all others.

Warning filters belong to the whole process, and to change them for a moment is not safe with
threads. So the two modules of Pillow that warn of damaged photos get a `warnings` that knows
whether this thread is reading one.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from PIL import Image

_reading: ContextVar[bool] = ContextVar("reading", default=False)


class _Warnings:
    """The module `warnings`, without what is said while this thread or task reads a photo."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(warnings, name)

    def warn(
        self, message: Warning | str, category: type[Warning] | None = None, stacklevel: int = 1
    ) -> None:
        if not _reading.get():
            warnings.warn(message, category, stacklevel=stacklevel + 1)


_WARNINGS = _Warnings()


@contextmanager
def without_messages() -> Iterator[None]:
    """Pillow neither warns nor logs to stderr within this, in this thread."""
    _watch()
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def _watch() -> None:
    if Image.__dict__.get("warnings") is _WARNINGS:
        return
    from PIL import TiffImagePlugin  # which reads EXIF as well

    for module in (TiffImagePlugin, Image):
        vars(module)["warnings"] = _WARNINGS
    # With a handler somewhere, logging does not write to stderr on its own.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
