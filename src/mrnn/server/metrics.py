"""Counts for Prometheus, in its text format 0.0.4."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from starlette.types import Scope

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the seconds of a request."""
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Metrics:
    """What was asked, answered and captioned since the start."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._requests = Counter[tuple[str, str, int]]()
        self._buckets = Counter[float]()
        self._seconds = 0.0
        self._photos = Counter[str]()
        self._batches, self._batch_seconds = 0, 0.0
        self._start = time.time()
        self._lock = Lock()
        self.active = 0
        """Requests that are being answered."""

    def count_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Status 0 is for a client that left before the answer began."""
        route = scope.get("route")
        path = getattr(route, "path", "") or "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests[method, path, status] += 1
        self._seconds += seconds
        for bound in BUCKETS:
            self._buckets[bound] += seconds <= bound

    def count_batch(self, seconds: float) -> None:
        """Of the model; may come from another thread."""
        with self._lock:
            self._batches += 1
            self._batch_seconds += seconds

    def count_photo(self, *, captioned: bool) -> None:
        """One more, with or without captions."""
        with self._lock:
            self._photos["captioned" if captioned else "failed"] += 1

    def text(self, waiting: int, spooled: int) -> str:
        """All of them, and how many photos wait and how many bytes are received or wait."""
        return "".join(f"{line}\n" for line in self._lines(waiting, spooled))

    def _lines(self, waiting: int, spooled: int) -> Iterator[str]:
        yield from _head("mrnn_build_info", "gauge", "The version of mrnn")
        yield f'mrnn_build_info{{version="{self._version}"}} 1'
        yield from _head("mrnn_requests_total", "counter", "Requests by path and status")
        for (method, path, status), count in sorted(self._requests.items()):
            labels = f'method="{method}",path="{path}",status="{status}"'
            yield f"mrnn_requests_total{{{labels}}} {count}"
        total = sum(self._requests.values())
        yield from _head("mrnn_request_seconds", "histogram", "Seconds until a request is answered")
        for bound in BUCKETS:
            yield f'mrnn_request_seconds_bucket{{le="{bound:g}"}} {self._buckets[bound]}'
        yield f'mrnn_request_seconds_bucket{{le="+Inf"}} {total}'
        yield f"mrnn_request_seconds_sum {self._seconds:.6f}"
        yield f"mrnn_request_seconds_count {total}"
        yield from _head("mrnn_photos_total", "counter", "Photos by result")
        for result in ("captioned", "failed"):
            yield f'mrnn_photos_total{{result="{result}"}} {self._photos[result]}'
        yield from _head("mrnn_batches_total", "counter", "Batches that went through the model")
        yield f"mrnn_batches_total {self._batches}"
        yield from _head("mrnn_batch_seconds_total", "counter", "Seconds that the model worked")
        yield f"mrnn_batch_seconds_total {self._batch_seconds:.6f}"
        for name, help_text, value in (
            ("mrnn_requests_active", "Requests that are being answered", self.active),
            ("mrnn_photos_waiting", "Photos that wait or are being captioned", waiting),
            ("mrnn_spooled_bytes", "Bytes of photos received or waiting", spooled),
            ("process_resident_memory_bytes", "Memory of the process", _resident_bytes()),
            ("process_start_time_seconds", "When the process started", f"{self._start:.3f}"),
        ):
            yield from _head(name, "gauge", help_text)
            yield f"{name} {value}"


def _head(name: str, kind: str, help_text: str) -> tuple[str, str]:
    return f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"


def _resident_bytes() -> int:
    """0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
