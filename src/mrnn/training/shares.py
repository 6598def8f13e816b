"""The shares of a batch: who computes which, and how their gradients are summed.

A batch is cut into K shares, K a power of two. Each process computes as many as every other, on
the CPU in as many threads as it may use, one share a thread. Gradients are summed in pairs of
shares, then in pairs of pairs. So neither the number of processes nor that of threads changes a bit
of the sum.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from mrnn.errors import OptionsError
from mrnn.training.processes import ALONE, Processes

Gradient = list[Tensor]


class Shares:
    """The shares of every batch of a training."""

    def __init__(self, count: int = 1, processes: Processes = ALONE, threads: int = 1) -> None:
        """Raises OptionsError where the shares cannot be dealt out evenly to the processes."""
        if count % processes.count:
            fit = [str(2**power) for power in range(count.bit_length())]
            raise OptionsError(
                f"{processes.count} processes cannot have equal shares of a batch, as "
                f"training.shares is {count}; start {', '.join(fit)} of them, or use a higher "
                "power of 2, as in --set training.shares=4"
            )
        self.count, self.processes = count, processes
        own = count // processes.count
        self.own = range(processes.rank * own, (processes.rank + 1) * own)
        """Those of this process."""
        self._blocks = 1 << (min(threads, own).bit_length() - 1)
        self._pool = ThreadPoolExecutor(self._blocks)

    def sum(self, gradient_of: Callable[[int], Gradient]) -> Gradient:
        """The sum of the gradients of all shares, in all processes."""
        size = len(self.own) // self._blocks
        starts = self.own[::size]
        blocks = self._pool.map(lambda first: _sum_of_block(gradient_of, first, size), starts)
        return self.processes.sum(_sum_in_pairs(list(blocks)))


def _sum_of_block(gradient_of: Callable[[int], Gradient], first: int, count: int) -> Gradient:
    """Of `count` shares, a power of two; few gradients are in memory at a time."""
    if count == 1:
        return gradient_of(first)
    half = count // 2
    left = _sum_of_block(gradient_of, first, half)
    return _add(left, _sum_of_block(gradient_of, first + half, half))


def _sum_in_pairs(parts: list[Gradient]) -> Gradient:
    while len(parts) > 1:
        parts = [_add(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _add(left: Gradient, right: Gradient) -> Gradient:
    """In place of `left`."""
    torch._foreach_add_(left, right)
    return left


def share_seed(*numbers: int) -> int:
    """A seed of 63 bits, made of the seed of the run, the phase, the step and the share."""
    (seed,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(seed >> np.uint64(1))


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[int]:
    """If wanted, each operation of PyTorch and NumPy on one thread, as more change its last bits.

    Gives how many PyTorch had.
    """
    threads = torch.get_num_threads()
    if not wanted:
        yield threads
        return
    with threadpool_limits(limits=1, user_api="blas"):
        torch.set_num_threads(1)
        try:
            yield threads
        finally:
            torch.set_num_threads(threads)
