"""Words per second of training: the network and a plain PyTorch loop, step by step in turns.

Sizes are the paper's, with EfficientNet-Lite 2's features and Flickr8K's vocabulary. Words are
random; sentence lengths are like the real ones. On a shared machine run one thread, for then the
processor's own time is measured:
OMP_NUM_THREADS=1 python benchmarks/training_speed.py [--precision bfloat16]
With --data FOLDER: the words per second of `mrnn train paper` on that dataset.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.data.dataset import Dataset
from mrnn.model.config import ModelConfig
from mrnn.training.events import RunStarted, StepDone
from mrnn.training.network import IGNORED, MRNN, sentence_loss
from mrnn.training.recipe import load_recipe
from mrnn.training.train import train

CONFIG = ModelConfig(vocabulary_size=3490, image_size=1280, dropout=0.3)
WARM_UP = 3
CAPTIONS = 20_000
"""Of a dataset that is trained on; the first quarter warms up."""
PARTS = {
    "matrix products": {"mm", "addmm", "addmm_"},
    "softmax": {"_softmax", "_log_softmax"},
    "sums and elementwise products": {"add", "add_", "mul", "mul_", "sub", "sum"},
    "copies from one precision to another": {"copy_"},
    "Adam": {"_fused_adam_"},
    "random numbers of dropout": {"random_", "ge_", "bernoulli_"},
}
"""The names of PyTorch's operations."""
OF_WORD = 3 * (128 * 256 + 256 * 256 + 2 * 256 * 512)
"""Multiplications in the products of embeddings, U, V_w and V_r, and in the gradients of each
product's two sides."""
OF_OUTPUT = 3 * 512
"""Likewise in the output layer, for each word of the vocabulary."""
OF_IMAGE = 2 * 512 * CONFIG.image_size
"""Likewise for an image; a feature needs no gradient."""
Batch = tuple[Tensor, Tensor, Tensor]


def clock() -> float:
    """Seconds; with one thread the processor's own, which other programs disturb less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Plain(nn.Module):
    """The same network in plain PyTorch: all logits at once, and its own loss and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = MRNN(CONFIG)
        self.dropout = nn.Dropout(CONFIG.dropout)

    def forward(self, words: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """The same as `sentence_loss`."""
        net, drop = self.layers, self.dropout
        w = drop(net.embedding_2(net.embedding_1(words)))
        state, states = net.initial_state(len(words)), []
        for t in range(words.shape[1]):
            state = functional.relu(functional.linear(state, net.recurrence.weight) + w[:, t])
            states.append(state)
        r = drop(torch.stack(states, 1))
        image = net.image_to_multimodal(drop(images))[:, None]
        m = net.word_to_multimodal(w) + net.recurrent_to_multimodal(r) + image
        logits = net.output(drop(1.7159 * torch.tanh(2 / 3 * m)))
        counted = targets != IGNORED
        return functional.cross_entropy(logits[counted].float(), targets[counted], reduction="sum")


def batches(count: int, size: int) -> Iterator[Batch]:
    """Random captions of nearly one length, 8 to 17 words, with random features."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        middle = int(torch.randint(9, 17, (1,), generator=generator))
        lengths = torch.randint(middle - 1, middle + 2, (size, 1), generator=generator)
        shape = (size, int(lengths.max()) + 1)
        words = torch.randint(3, CONFIG.vocabulary_size, shape, generator=generator)
        counted = torch.arange(shape[1] - 1)[None] < lengths
        targets = words[:, 1:].masked_fill(~counted, IGNORED)
        yield words[:, :-1], targets, torch.randn(size, CONFIG.image_size, generator=generator)


class Trained:
    """A network in training, and the seconds of its steps."""

    def __init__(self, module: nn.Module, loss: Callable[..., Tensor], low: bool) -> None:
        self.module, self.loss, self.low, self.seconds = module, loss, low, 0.0
        self.optimizer = torch.optim.Adam(module.parameters(), fused=True)

    def step(self, batch: Batch) -> int:
        """Loss, gradient, clipping, Adam; gives the number of words."""
        start, count = clock(), int((batch[1] != IGNORED).sum())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.low):
            nats = self.loss(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        (nats / (count * math.log(2))).backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()
        self.seconds += clock() - start
        return count


class Race(NamedTuple):
    """What each rival did in its seconds."""

    words: int
    operations: int
    """In matrix products, for that many words and their images."""
    peak: float
    """Operations per second of a large product, the median of one after each step: on a shared
    machine it varies."""


def race(rivals: Sequence[Trained], steps: int, size: int, precision: torch.dtype) -> Race:
    """Train all rivals on the same batches, in turns."""
    words, peaks = 0, list[float]()
    for step, batch in enumerate(batches(steps + WARM_UP, size)):
        if step == WARM_UP:
            words, peaks = 0, []
            for rival in rivals:
                rival.seconds = 0.0
        counts = [rival.step(batch) for rival in rivals]
        words += counts[0]
        peaks.append(peak(precision))
    return Race(words, operations(words, steps * size), statistics.median(peaks))


def operations(words: int, images: int, vocabulary_size: int = CONFIG.vocabulary_size) -> int:
    """In matrix products: a multiplication and a sum each."""
    return 2 * (words * (OF_WORD + vocabulary_size * OF_OUTPUT) + images * OF_IMAGE)


def peak(precision: torch.dtype) -> float:
    """Operations per second of a large product."""
    matrix, result = torch.ones(2, 2048, 2048, dtype=precision)
    start = clock()
    torch.mm(matrix, matrix, out=result)
    return 2 * 2048**3 / (clock() - start)


def of_training(data: Path, size: int, precision: torch.dtype) -> tuple[float, float, float]:
    """Words and operations per second of `mrnn train` with all its overhead, and the peak."""
    name = str(precision).removeprefix("torch.")
    settings = [f"training.batch_size={size}", "training.epochs=1", f"training.precision={name}"]
    counted, seconds, peaks = list[int](), list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        events = train(load_recipe("paper", settings), Dataset.load(data), Path(folder) / "run")
        start = clock()
        vocabulary_size = 0
        for event in events:
            if isinstance(event, RunStarted):
                vocabulary_size = event.vocabulary_size
            if isinstance(event, StepDone):
                seconds.append(clock() - start)
                counted.append(event.words)
                peaks.append(peak(precision))
            if len(counted) * size >= CAPTIONS:
                break
            start = clock()
    first = len(counted) // 4
    words, steps, taken = sum(counted[first:]), len(counted) - first, sum(seconds[first:])
    speed = operations(words, steps * size, vocabulary_size) / taken
    return words / taken, speed, statistics.median(peaks[first:])


def time_fractions(trained: Trained, size: int) -> dict[str, float]:
    """The fraction of time that each part of some steps takes."""
    with torch.profiler.profile() as profiler:
        for batch in batches(10, size):
            trained.step(batch)
    seconds = dict.fromkeys([*PARTS, "all else"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        part = next((part for part, names in PARTS.items() if name in names), "all else")
        seconds[part] += event.self_cpu_time_total
    return {part: taken / sum(seconds.values()) for part, taken in seconds.items()}


def main() -> None:
    """Run the race several times, and print the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--data", type=Path, help="a dataset folder with Lite 2's features")
    arguments = parser.parse_args()
    precision = arguments.precision
    if arguments.data:
        words, speed, most = of_training(
            arguments.data, arguments.batch_size, getattr(torch, precision)
        )
        print(
            f"mrnn train, {precision}, {torch.get_num_threads()} threads, batches of "
            f"{arguments.batch_size}: {words:,.0f} words/s, {speed / most:.0%} of "
            f"{most / 1e9:,.0f} GFLOP/s"
        )
        return
    ratios, fractions_of_peak = [], []
    for _ in range(arguments.turns):
        torch.manual_seed(0)
        plain, ours, low = Plain(), MRNN(CONFIG), precision == "bfloat16"
        rivals = slow, fast = (
            Trained(plain, plain, low),
            Trained(ours, partial(sentence_loss, ours), low),
        )
        done = race(rivals, arguments.steps, arguments.batch_size, getattr(torch, precision))
        ratios.append(slow.seconds / fast.seconds)
        fractions_of_peak.append(done.operations / fast.seconds / done.peak)
        print(
            f"plain {done.words / slow.seconds:7,.0f} words/s   "
            f"mrnn {done.words / fast.seconds:7,.0f}   ratio {ratios[-1]:.2f}   "
            f"{fractions_of_peak[-1]:.0%} of {done.peak / 1e9:,.0f} GFLOP/s"
        )
    print(
        f"{precision}, {torch.get_num_threads()} threads, batches of {arguments.batch_size}: "
        f"median ratio {statistics.median(ratios):.2f}, {statistics.median(fractions_of_peak):.0%} "
        "of the matrix peak"
    )
    for name, rival in zip(("plain", "mrnn"), rivals, strict=True):
        parts = time_fractions(rival, arguments.batch_size).items()
        print(f"{name}: " + ", ".join(f"{part} {part_time:.0%}" for part, part_time in parts))


if __name__ == "__main__":
    main()
