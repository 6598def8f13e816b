"""Words per second of training: `mrnn.model` beside a plain PyTorch loop, step by step in turns.

Sizes are the paper's, with the default encoder's features and Flickr8K's vocabulary; words are
random, sentence lengths like the real ones. On a machine that others use, let one thread run: then
the processor's time is what counts. Run: make bench, or
OMP_NUM_THREADS=1 python benchmarks/training_speed.py
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model import IGNORED, MRNN, ModelConfig
from mrnn.precision import faster_precision

CONFIG = ModelConfig(vocabulary_size=3490, image_size=1280, dropout=0.3)
WARM_UP = 3
PARTS = {
    "matrix products": {"mm", "addmm", "addmm_"},
    "softmax": {"_softmax", "_log_softmax"},
    "sums and elementwise products": {"add", "add_", "mul", "mul_", "sub", "sum"},
    "copies from one precision to another": {"copy_"},
    "Adam": {"_fused_adam_"},
    "random numbers of dropout": {"random_", "ge_", "bernoulli_"},
}
"""What the library calls its operations."""
Batch = tuple[Tensor, Tensor, Tensor]


def clock() -> float:
    """Seconds; of one thread the processor's own, which others on the machine disturb less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Plain(nn.Module):
    """The same network as one would write it down: all logits at once, the library's loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = MRNN(CONFIG)
        self.dropout = nn.Dropout(CONFIG.dropout)

    def forward(self, words: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        """The same as `MRNN.loss`."""
        net, drop = self.layers, self.dropout
        w = drop(net.embedding_2(net.embedding_1(words)))
        state, states = net.begin(len(words)), []
        for t in range(words.shape[1]):
            state = functional.relu(functional.linear(state, net.recurrence.weight) + w[:, t])
            states.append(state)
        r = drop(torch.stack(states, 1))
        seen = net.image_to_multimodal(drop(images))[:, None]
        m = net.word_to_multimodal(w) + net.recurrent_to_multimodal(r) + seen
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
        """Loss, gradient, clipping, Adam; how many words."""
        start, count = clock(), int((batch[1] != IGNORED).sum())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.low):
            nats = self.loss(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        (nats / (count * math.log(2))).backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()
        self.seconds += clock() - start
        return count


def speeds(rivals: Sequence[Trained], steps: int, size: int) -> list[float]:
    """Words per second of each, in turns on the same batches."""
    words = 0
    for step, batch in enumerate(batches(steps + WARM_UP, size)):
        if step == WARM_UP:
            words = 0
            for rival in rivals:
                rival.seconds = 0.0
        counts = [rival.step(batch) for rival in rivals]
        words += counts[0]
    return [words / rival.seconds for rival in rivals]


def shares(trained: Trained, size: int) -> dict[str, float]:
    """Where the time of some steps goes."""
    with torch.profiler.profile() as profiler:
        for batch in batches(10, size):
            trained.step(batch)
    seconds = dict.fromkeys([*PARTS, "all else"], 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        part = next((part for part, names in PARTS.items() if name in names), "all else")
        seconds[part] += event.self_cpu_time_total
    return {part: share / sum(seconds.values()) for part, share in seconds.items()}


def peak() -> float:
    """Floating-point operations per second of large products, the best of several."""
    precision = getattr(torch, faster_precision())
    matrix, least = torch.randn(2048, 2048, dtype=precision), math.inf
    for _ in range(8):
        start = clock()
        matrix @ matrix
        least = min(least, clock() - start)
    return 2 * 2048**3 / least


def main() -> None:
    """The median of several runs counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    precision = faster_precision()
    found = []
    for _ in range(arguments.turns):
        torch.manual_seed(0)
        plain, ours, low = Plain(), MRNN(CONFIG), precision == "bfloat16"
        rivals = Trained(plain, plain, low), Trained(ours, ours.loss, low)
        found.append(speeds(rivals, arguments.steps, arguments.batch_size))
        slow, fast = found[-1]
        print(f"plain {slow:7,.0f} words/s   mrnn {fast:7,.0f}   ratio {fast / slow:.2f}")
    speed, most = statistics.median(fast for _, fast in found), peak()
    products = 3 * 2 * (ours.output.weight.numel() + 128 * 256 + 256 * 256 + 2 * 256 * 512)
    print(
        f"{precision}, {torch.get_num_threads()} threads, median ratio "
        f"{statistics.median(fast / slow for slow, fast in found):.2f}; {products / 1e6:.1f} MFLOP "
        f"a word outside the image, {products * speed / most:.0%} of this processor's matrix peak "
        f"of {most / 1e9:,.0f} GFLOP/s"
    )
    for name, rival in zip(("plain", "mrnn"), rivals, strict=True):
        parts = shares(rival, arguments.batch_size).items()
        print(f"{name}: " + ", ".join(f"{part} {share:.0%}" for part, share in parts))


if __name__ == "__main__":
    main()
