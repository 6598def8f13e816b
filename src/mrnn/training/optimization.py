"""The descent of a network's cost on one set of captions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from mrnn.data.features import Features
from mrnn.shapes import Float, Int
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.batches import batch_of, batch_rows
from mrnn.training.devices import has_fused_optimizer
from mrnn.training.network import Network, seeded_dropout, sentence_loss
from mrnn.training.recipe import TrainingOptions
from mrnn.training.shares import Gradient, Shares, share_seed

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One step."""

    bits: float
    """Mean bits a word, without the weight penalty; perhaps not finite."""
    words: int
    rows: Int[np.ndarray, " B"]
    """The places of the batch's captions among all."""


class Optimization:
    """The optimizer, the schedule of its learning rate, and the running average of the weights."""

    def __init__(
        self,
        network: Network,
        options: TrainingOptions,
        captions: EncodedCaptions,
        features: Features | Tensor | None,
        shares: Shares,
    ) -> None:
        self.network, self.options, self.shares = network, options, shares
        self.captions, self.features = captions, features
        self.device = network.output.weight.device
        self.average = {name: weight.clone() for name, weight in weights_of(network).items()}
        self.optimizer = torch.optim.AdamW(  # without decay the same as Adam
            network.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
            fused=has_fused_optimizer(self.device),
        )
        self.steps_per_epoch = math.ceil(len(captions) / options.batch_size)

    def epoch(self, number: int, generator: torch.Generator) -> Iterator[Step]:
        """The steps of an epoch, counted from 1.

        Steps on a device other than the CPU are told in groups, as each telling waits for it.
        """
        self.network.train()
        steps = self.options.epochs * self.steps_per_epoch
        done = (number - 1) * self.steps_per_epoch
        at_once = steps_at_once(self.device)
        untold: list[tuple[Tensor, int, Int[np.ndarray, " _"]]] = []
        for rows in batch_rows(self.captions, self.options.batch_size, generator):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.options, done, steps)
            words = int(self.captions.lengths[rows].sum()) + len(rows)
            untold.append((self._step(rows, words, done), words, rows))
            done += 1
            last = done % self.steps_per_epoch == 0
            # Without averaging, only the last weights of an epoch are ever used.
            if self.options.average or last:
                self._average(done)
            if last or len(untold) == at_once:
                told = torch.stack([bits for bits, *_ in untold]).tolist()
                for bits, (_, words, rows) in zip(told, untold, strict=True):
                    yield Step(bits, words, rows)
                untold = []

    def _step(self, rows: Int[np.ndarray, " B"], words: int, step: int) -> Float[Tensor, ""]:
        """One step down the paper's cost: mean bits a word + lambda ||theta||^2."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.shares.count == 1:
            bits = self._bits(rows, words)
            bits.backward()  # type: ignore[no-untyped-call]
        else:
            bits = self._sum_shares(rows, words, step)
        for weight in self.network.parameters():
            if weight.grad is not None:  # the penalty's gradient is 2 lambda theta
                weight.grad.add_(weight.detach(), alpha=2 * self.options.weight_penalty)
        self._clip()
        self.optimizer.step()
        return bits.detach()

    def _bits(self, rows: Int[np.ndarray, " B"], words: int) -> Float[Tensor, ""]:
        """Bits of these captions, over a number of words."""
        batch = batch_of(self.captions, self.features, rows, self.device)
        low = self.options.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low):
            nats = sentence_loss(self.network, batch.words, batch.targets, batch.features)
        return nats / (words * math.log(2))

    def _sum_shares(self, rows: Int[np.ndarray, " B"], words: int, step: int) -> Float[Tensor, ""]:
        """Give the weights their gradients, of all shares in all processes; gives the bits."""
        weights = list(self.network.parameters())
        parts = np.array_split(rows, self.shares.count)
        phase = int(self.features is not None)
        used: list[bool] = []

        def gradient_of(share: int) -> Gradient:
            seed = share_seed(self.options.seed, phase, step, share)
            with seeded_dropout(seed, self.device):
                bits = self._bits(parts[share], words)
                found = torch.autograd.grad(bits, weights, allow_unused=True)
            used[:] = [gradient is not None for gradient in found]
            return [bits.detach(), *(gradient for gradient in found if gradient is not None)]

        if len(rows) < self.shares.count:  # of an epoch's end: each process computes it all
            parts = [rows]
            bits, *gradients = gradient_of(0)
        else:
            bits, *gradients = self.shares.sum(gradient_of)
        with_gradient = (weight for weight, is_used in zip(weights, used, strict=True) if is_used)
        for weight, gradient in zip(with_gradient, gradients, strict=True):
            weight.grad = gradient
        return bits.clone()  # the sums of the next step take its place

    def _clip(self) -> None:
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # On the CPU a pass that does nothing is left out; elsewhere the norm would be waited for.
        if self.device.type != "cpu" or norm > self.options.clip:
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.options.clip, norm)

    def _average(self, steps: int) -> None:
        """Add the weights after so many steps to the average; early steps are soon forgotten."""
        decay = min(self.options.average, steps / (steps + 10))
        for name, parameter in self.network.named_parameters():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    def restore(
        self, weights: Weights, average: Weights, optimizer: dict[int, dict[str, Tensor]]
    ) -> None:
        """Go on from a saved state, which may be on another device."""
        set_weights(self.network, weights)
        self.average = {name: weight.to(self.device) for name, weight in average.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": optimizer, "param_groups": groups})


def steps_at_once(device: torch.device) -> int:
    """Steps between two readings of the cost: a device other than the CPU is waited for."""
    return 1 if device.type == "cpu" else 50


def weights_of(network: Network) -> Weights:
    """The weights themselves, not copies."""
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def checksum(weights: Weights) -> int:
    """Equal for equal weights, bit for bit."""
    total = 0
    for weight in weights.values():
        total = crc32(weight.cpu().numpy().tobytes(), total)
    return total


def set_weights(network: Network, weights: Weights) -> None:
    """Copy the weights into the network."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(weights[name])


def learning_rate(options: TrainingOptions, step: int, steps: int) -> float:
    """The rate at a step (from 0) of `steps`: a linear warm-up, then a cosine down to 0."""
    warm = max(1, round(options.warm_up * steps))
    if step < warm:
        return options.learning_rate * (step + 1) / warm
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
