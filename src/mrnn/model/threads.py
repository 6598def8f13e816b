"""Work in threads, one for each processor; the results come in order.

What is done at once are large units: photos, networks of an encoder, crops. Each of them takes one
thread, and so do the products of numpy and the graphs in it.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from threading import Event, Lock, local
from typing import TypeVar

from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items, for each thread, that are taken before the first of them is done."""
_here = local()
"""Whether the thread `is_ours`."""


def thread_count() -> int:
    """OMP_NUM_THREADS, or else the processors that the process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_here() -> int:
    """Those that work in the present thread may take: one where it is a thread of `in_threads`."""
    return 1 if getattr(_here, "is_ours", False) else thread_count()


def in_threads(
    items: Iterable[Item], work: Callable[[Item], Result], stopped: Event | None = None
) -> Iterator[Result]:
    """The result of `work` for each item, in order; what it raises is raised in its place.

    There are `thread_count()` threads; one item alone is done in the caller's, and so are all where
    the caller's is such a thread itself. Items are taken in the caller's thread. At the end, early
    or not, `stopped` is set for calls that run in other threads, and they are waited for.
    """
    threads = threads_here()
    if threads == 1:
        yield from map(work, items)
        return
    items = iter(items)
    first = list(islice(items, 2))
    with _blas.limited():
        if len(first) < 2:
            yield from map(work, first)
        else:
            yield from _in_pool(threads, chain(first, items), work, stopped)


def _in_pool(
    threads: int, items: Iterable[Item], work: Callable[[Item], Result], stopped: Event | None
) -> Iterator[Result]:
    pool = ThreadPoolExecutor(threads, "photos", lambda: setattr(_here, "is_ours", True))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        if stopped:
            stopped.set()
        pool.shutdown(cancel_futures=True)


class _Blas:
    """Numpy's products, on one processor each while somebody works in threads.

    Their own threads wait by spinning: they take half as much again of the processors, and where
    another program has one of these, the products take twice the time.
    """

    def __init__(self) -> None:
        self._lock, self._users = Lock(), 0
        self._limits: threadpool_limits | None = None

    @contextmanager
    def limited(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._limits = threadpool_limits(1, "blas")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users and self._limits:
                    self._limits.restore_original_limits()


_blas = _Blas()
