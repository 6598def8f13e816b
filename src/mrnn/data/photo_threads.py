"""Work on many photos, in a thread for each processor; the results come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from threading import Event, Lock
from typing import TypeVar

from threadpoolctl import threadpool_limits

from mrnn.model.onnx_session import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items, for each thread, that are taken before the first of them is done."""


def in_threads(
    items: Iterable[Item], work: Callable[[Item], Result], stopped: Event | None = None
) -> Iterator[Result]:
    """The result of `work` for each item, in order; what it raises is raised in its place.

    There are `thread_count()` threads; one item alone is done in the caller's. Items are taken in
    the caller's thread. At the end, early or not, `stopped` is set, and calls that run are waited
    for.
    """
    items, threads = iter(items), thread_count()
    first = list(islice(items, 2)) if threads > 1 else []
    if len(first) < 2:
        yield from map(work, chain(first, items))
        return
    pool = ThreadPoolExecutor(threads, "photos")
    waiting: deque[Future[Result]] = deque()
    _blas.limit()
    try:
        for item in chain(first, items):
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        if stopped:
            stopped.set()
        pool.shutdown(cancel_futures=True)
        _blas.release()


class _Blas:
    """Numpy's products, on one processor each while photos are worked on in threads.

    Their own threads wait by spinning, which takes half as much again of the processors.
    """

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._limits: threadpool_limits | None = None

    def limit(self) -> None:
        with self._lock:
            if not self._users:
                self._limits = threadpool_limits(1, "blas")
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users and self._limits:
                self._limits.restore_original_limits()


_blas = _Blas()
