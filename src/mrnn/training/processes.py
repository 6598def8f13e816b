"""The processes that train one model, as `torchrun` starts them.

They meet by what torchrun puts into the environment: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and
MASTER_PORT. Process 0, the first, writes and measures; all keep the same weights.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from mrnn.errors import MRNNError, TrainingError
from mrnn.training.exchange import Messages, SharedMemory, exchange_of

PATIENCE = timedelta(minutes=60)
"""How long a process waits for another, which may be measuring the model meanwhile."""
COUNT = "WORLD_SIZE"
"""The variable of the environment with the number of processes."""
Value = TypeVar("Value")


@runtime_checkable
class Counter(Protocol):
    """What processes share, as a store of PyTorch's."""

    def add(self, key: str, amount: int) -> int:
        """Add to a number that is 0 at first; gives the sum."""
        ...


class Processes:
    """All processes of a training, seen from one of them."""

    def __init__(
        self, rank: int = 0, count: int = 1, place: int = 0, store: Counter | None = None
    ) -> None:
        self.rank, self.count = rank, count
        self.place = place
        """The number of this process on its machine."""
        self.seconds = 0.0
        """Seconds spent in exchanging gradients, waiting included."""
        self._store = store
        self._exchange: Messages | SharedMemory | None = None
        self._size = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes, measures and prints."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Sums over all processes, in a fixed order; see `mrnn.training.exchange`.

        They count until the next sum. Raises TrainingError where a process has ended.
        """
        if self.count == 1:
            return list(tensors)
        start = time.perf_counter()
        size, device = sum(map(torch.numel, tensors)), tensors[0].device
        with _losing(self.count):
            if self._exchange is None or self._size != size:
                self._exchange = exchange_of(self.rank, self.count, size, device)
                self._size = size
            flat = self._exchange.sum(tensors)
        self.seconds += time.perf_counter() - start
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def first_does(self, work: Callable[[], Value]) -> Value:
        """What the first process found, in all processes; or the MRNNError that it met."""
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = work()
            except MRNNError as error:
                outcome[1] = error
        with _losing(self.count):
            dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        if outcome[1] is not None:
            raise outcome[1]
        found: Value = outcome[0]
        return found

    def check_same(self, what: Mapping[str, object]) -> None:
        """Raises TrainingError where processes have something different."""
        if self.count == 1:
            return
        found: list[Any] = [None] * self.count
        with _losing(self.count):
            dist.all_gather_object(found, dict(what))
        for rank, other in enumerate(found):
            different = [name for name in what if other[name] != found[0][name]]
            if different:
                raise TrainingError(
                    f"Process {rank} of {self.count} has another {different[0]} than process 0; "
                    "give all processes the same files, options and kind of computer"
                )

    def is_first_to_tell(self) -> bool:
        """Whether no process has told the user yet why the training ended; true only once."""
        if self._store is None:
            return True
        try:
            return int(self._store.add("told", 1)) == 1
        except RuntimeError:  # the store is gone with the process that kept it
            return True


ALONE = Processes()


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Meet the other processes that torchrun started, if it did; the gradients go by gloo or NCCL.

    Raises TrainingError where one of them does not come, or this one is told to stop.
    """
    count = os.environ.get(COUNT, "")
    if not count.isdecimal() or int(count) == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    with _stopping():
        with _losing(int(count)):
            store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=PATIENCE
            )
        yield Processes(rank, size, int(os.environ.get("LOCAL_RANK", "0")), store)
        dist.destroy_process_group()  # not after an error: it would wait for the others


@contextmanager
def _losing(count: int) -> Iterator[None]:
    """Raises TrainingError where another process has ended, or does not answer."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"One of the {count} processes has ended or does not answer; start all again, with "
            "--resume"
        ) from error


@contextmanager
def _stopping() -> Iterator[None]:
    """Turns SIGTERM, which torchrun sends where a process has ended, into a TrainingError."""

    def stop(*_: object) -> None:
        raise TrainingError(
            "Training was told to stop, as where another of its processes has ended; start all "
            "again, with --resume"
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        with suppress(TypeError):  # a handler that Python did not install
            signal.signal(signal.SIGTERM, before)
