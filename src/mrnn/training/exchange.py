"""Sums over processes, of pairs of neighbours, then of pairs of pairs, and so on.

The number of processes is a power of 2. On one computer they go through shared memory, which takes
a third of the time of messages.

Letters: N values, P processes.
"""

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from mrnn.shapes import Float
from mrnn.training.memory import available_memory

CPU = torch.device("cpu")

MOST = 4
"""Shared memory takes one part in so many of all memory, at most."""
TURNS = 2
"""Copies of the shared memory: who is late still reads one while the others write the next."""


class Messages:
    """Sums by messages between processes: gloo's, or NCCL's."""

    def __init__(self, rank: int, count: int, size: int, device: torch.device) -> None:
        self._rank, self._count = rank, count
        self._sum = torch.empty(size, device=device)
        self._other = torch.empty_like(self._sum)

    def sum(self, tensors: Sequence[Tensor]) -> Float[Tensor, " N"]:
        """All values, one tensor after another; they count until the next sum."""
        torch.cat([tensor.flatten() for tensor in tensors], out=self._sum)
        distance = 1
        while distance < self._count:
            partner = self._rank ^ distance
            both = [
                dist.P2POp(dist.isend, self._sum, partner),
                dist.P2POp(dist.irecv, self._other, partner),
            ]
            for work in dist.batch_isend_irecv(both):
                work.wait()
            self._sum.add_(self._other)
            distance *= 2
        return self._sum


class SharedMemory:
    """Sums by memory that all processes of one computer see."""

    def __init__(self, rank: int, memory: Float[Tensor, "2 P N"]) -> None:
        self._rank, self._memory, self._turn = rank, memory, 0
        self._sum = torch.empty(memory.shape[2])

    def sum(self, tensors: Sequence[Tensor]) -> Float[Tensor, " N"]:
        """All values, one tensor after another; they count until the next sum."""
        self._turn = (self._turn + 1) % TURNS
        parts = self._memory[self._turn]
        torch.cat([tensor.flatten() for tensor in tensors], out=parts[self._rank])
        dist.all_reduce(torch.zeros(1))  # until all are here
        _sum_in_pairs(parts, self._sum)
        return self._sum


def _sum_in_pairs(parts: Float[Tensor, "P N"], out: Float[Tensor, " N"]) -> None:
    if len(parts) == 2:
        torch.add(parts[0], parts[1], out=out)
        return
    left, right = parts.chunk(2)
    _sum_in_pairs(left, out)
    _sum_in_pairs(right, other := torch.empty_like(out))
    out.add_(other)


def exchange_of(rank: int, count: int, size: int, device: torch.device) -> Messages | SharedMemory:
    """The fastest way to sum so many values. All processes call it together."""
    alone_here = int(os.environ.get("LOCAL_WORLD_SIZE", "0")) == count
    if device.type == "cpu" and alone_here and (memory := _memory(rank, count, size)) is not None:
        return SharedMemory(rank, memory)
    return Messages(rank, count, size, device)


def _memory(rank: int, count: int, size: int) -> Float[Tensor, "2 P N"] | None:
    """None where there is no such memory, or not enough of it."""
    values = TURNS * count * size
    descriptor = _new_memory(4 * values) if rank == 0 else None
    named = [None if descriptor is None else f"/proc/{os.getpid()}/fd/{descriptor}"]
    dist.broadcast_object_list(named, src=0, device=torch.device("cpu"))
    try:
        if named[0] is None:
            return None
        flat = torch.from_file(named[0], shared=True, size=values, dtype=torch.float32)
        dist.all_reduce(torch.zeros(1))  # until all have it
    finally:
        if descriptor is not None:
            os.close(descriptor)  # what is mapped stays
    return flat.view(TURNS, count, size)


def _new_memory(length: int) -> int | None:
    """A file in memory of that length, whose bytes are really there; it ends with its users."""
    if not (hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")):
        return None
    if length > available_memory(CPU) / MOST:  # the system would end processes to make room
        return None
    descriptor = os.memfd_create("mrnn")
    try:
        os.posix_fallocate(descriptor, 0, length)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
