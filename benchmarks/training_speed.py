"""Words per second of training: `mrnn.model` beside a plain PyTorch loop, in turns, in one run.

Sizes are the paper's, with the default encoder's features and Flickr8K's vocabulary; words are
random, sentence lengths like the real ones. Run: make bench
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model import IGNORED, MRNN, ModelConfig
from mrnn.recipe import TrainingOptions
from mrnn.training import chosen_precision

CONFIG = ModelConfig(vocabulary_size=3490, image_size=1280, dropout=0.3)
WARM_UP = 3
Step = Callable[[Tensor, Tensor, Tensor], Tensor]


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


def batches(count: int, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
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


def words_per_second(module: nn.Module, loss: Step, steps: int, size: int, low: bool) -> float:
    """Of whole steps: loss, gradient, clipping, Adam."""
    optimizer = torch.optim.Adam(module.parameters(), fused=True)
    words, start = 0, 0.0
    for step, batch in enumerate(batches(steps + WARM_UP, size)):
        if step == WARM_UP:
            words, start = 0, time.perf_counter()
        count = int((batch[1] != IGNORED).sum())
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            nats = loss(*batch)
        optimizer.zero_grad(set_to_none=True)
        (nats / (count * math.log(2))).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 5.0)
        optimizer.step()
        words += count
    return words / (time.perf_counter() - start)


def main() -> None:
    """Both in turns, several times; the ratio of each turn counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    precision = chosen_precision(TrainingOptions())
    ratios = []
    for _ in range(arguments.turns):
        torch.manual_seed(0)
        plain, ours = Plain(), MRNN(CONFIG)
        sizes = (arguments.steps, arguments.batch_size, precision == "bfloat16")
        speeds = words_per_second(plain, plain, *sizes), words_per_second(ours, ours.loss, *sizes)
        ratios.append(speeds[1] / speeds[0])
        print(f"plain {speeds[0]:7,.0f} words/s   mrnn {speeds[1]:7,.0f}   ratio {ratios[-1]:.2f}")
    matrix = torch.randn(2048, 2048, dtype=getattr(torch, precision))
    start = time.perf_counter()
    for _ in range(5):
        matrix @ matrix
    peak = 5 * 2 * 2048**3 / (time.perf_counter() - start)
    products = 3 * 2 * (MRNN(CONFIG).output.weight.numel() + 128 * 256 + 256 * 256 + 2 * 256 * 512)
    print(
        f"{precision}, {torch.get_num_threads()} threads, median ratio "
        f"{statistics.median(ratios):.2f}; {products / 1e6:.1f} MFLOP a word outside the image, "
        f"{products * speeds[1] / peak:.0%} of this processor's matrix peak of "
        f"{peak / 1e9:,.0f} GFLOP/s"
    )


if __name__ == "__main__":
    main()
