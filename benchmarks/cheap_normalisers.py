"""What cheaper normalisers of the output layer would save, and what they would cost in ranks.

The first captions of some dev photos with these photos, all pairs: by the exact normaliser, the
same in numbers of two bytes and of one, a constant, a product of low rank, and the most frequent
words with a sample of the others. The
error is that of log P(sentence | image) where one sentence's images are compared, so a
shift for all of them is none.
Run: python benchmarks/cheap_normalisers.py DATA [--model RUN] [--images 150]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.tokenizer import Vocabulary, tokenize

Normaliser = Callable[[Tensor], Tensor]
"""From rows of the multimodal layer to log Z of each."""


def normalisers(weight: Tensor, bias: Tensor) -> dict[str, Normaliser]:
    """All that are compared, the exact one first."""

    def exact(rows: Tensor, words: Tensor | slice = slice(None)) -> Tensor:
        return (rows @ weight[words].t() + bias[words]).logsumexp(1)

    mean = weight.mean(0)
    left, values, right = torch.linalg.svd(weight - mean, full_matrices=False)

    def low_rank(rank: int) -> Normaliser:
        narrow, wide = right[:rank].t(), (left[:, :rank] * values[:rank]).t()
        return lambda rows: (rows @ narrow @ wide + bias).logsumexp(1) + rows @ mean

    short = weight.bfloat16().t()
    unit = weight.abs().amax(1) / 127
    bytes_of_weight = (weight / unit[:, None]).round().to(torch.int8).t()

    def whole_numbers(rows: Tensor) -> Tensor:
        """Products of bytes, each row of either side with a unit of its own."""
        scale = rows.abs().amax(1, keepdim=True) / 127
        products = torch._int_mm((rows / scale).round().to(torch.int8), bytes_of_weight)
        return (products * scale * unit + bias).logsumexp(1)

    frequent = bias.argsort(descending=True)

    def shortlist(count: int, sampled: int) -> Normaliser:
        rest = frequent[count:]
        drawn = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(0))]
        more = float(np.log(len(rest) / sampled))
        return lambda rows: torch.logaddexp(
            exact(rows, frequent[:count]), exact(rows, drawn[:sampled]) + more
        )

    return {
        "exact": exact,
        "bfloat16": lambda rows: (rows.bfloat16() @ short + bias).logsumexp(1).float(),
        "int8": whole_numbers,
        "constant": lambda rows: torch.zeros(len(rows)),
        **{f"rank {rank}": low_rank(rank) for rank in (16, 64, 128)},
        "500 words, 200 sampled": shortlist(500, 200),
        "1,000 words, 400 sampled": shortlist(1000, 400),
    }


@torch.inference_mode()
def main() -> None:
    """A line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--images", type=int, default=150)
    arguments = parser.parse_args()
    checkpoint, dataset = Checkpoint.load(arguments.model), Dataset.load(arguments.data)
    model, images = checkpoint.model, dataset.split("dev")[: arguments.images]
    features = load_features(dataset, checkpoint.encoder).of(images).astype(np.float32)
    seen = model.see(torch.from_numpy(features))
    weight, bias = model.output.weight, model.output.bias
    compared = normalisers(weight, bias)
    scores = {name: torch.zeros(len(images), len(images)) for name in compared}
    seconds, constants = dict.fromkeys(compared, 0.0), []
    for row, image in enumerate(images):
        words = checkpoint.vocabulary.encode(tokenize(image.captions[0]))
        share, _ = model.read(torch.tensor([[Vocabulary.BOS, *words]]), model.begin(1))
        rows = model.join(share[0][:, None], seen[None]).flatten(0, 1)
        target = torch.tensor([*words, Vocabulary.EOS]).repeat_interleave(len(images))
        logits = (rows * weight[target]).sum(1) + bias[target]
        for name, normaliser in compared.items():
            start = time.perf_counter()
            log_z = normaliser(rows)
            seconds[name] += time.perf_counter() - start
            scores[name][row] = (logits - log_z).view(-1, len(images)).sum(0)
            if name == "exact":
                constants.append(log_z)
    log_z = torch.cat(constants)
    print(f"log Z: mean {log_z.mean():.2f}, deviation {log_z.std():.2f} nats")
    for name, found in scores.items():
        error = found - scores["exact"]
        error -= error.mean(1, keepdim=True)
        ranks = 1 + (found > found.diagonal()[:, None]).sum(1)
        r_at_1, r_at_10 = (100 * float((ranks <= k).float().mean()) for k in (1, 10))
        print(
            f"{name:<25} {seconds['exact'] / seconds[name]:6.1f} times as fast; error "
            f"{error.std():.2f} nats, largest {error.abs().max():.1f}; sentence to image R@1 "
            f"{r_at_1:.1f}, R@10 {r_at_10:.1f}"
        )


if __name__ == "__main__":
    main()
