"""Negative log-likelihood of words under the output layer, computed together with its gradient.

Letters: V vocabulary, D input of the output layer, W words.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.shapes import Float, Int

IGNORED = -1
"""The target at a place without a word."""
ROWS_AT_ONCE = 1024
"""Rows of logits in memory at a time."""
ROWS_IN_STEP = 64
"""Rows are padded with zeros to a multiple of this: oneDNN prepares a product for every new shape,
which takes as long as some hundred rows, and keeps megabytes for each."""


def negative_log_likelihood(
    output: nn.Linear, hidden: Float[Tensor, "W D"], targets: Int[Tensor, " W"]
) -> Float[Tensor, ""]:
    """Nats, summed over all words that are not `IGNORED`, under softmax(output(hidden)).

    On the CPU no word may be ignored.
    """
    if hidden.device.type != "cpu":
        return functional.cross_entropy(
            output(hidden), targets, ignore_index=IGNORED, reduction="sum"
        )
    loss: Tensor = _OutputLoss.apply(  # type: ignore[no-untyped-call]
        hidden, output.weight, output.bias, targets, torch.is_grad_enabled()
    )
    return loss


class _OutputLoss(torch.autograd.Function):
    """Softmax and log-likelihood of the output layer, a block of rows at a time.

    The logits of all words are never in memory at once: those of a block are turned into their own
    gradient, so the forward pass also computes the products of the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: Float[Tensor, "W D"],
        weight: Float[Tensor, "V D"],
        bias: Float[Tensor, " V"],
        targets: Int[Tensor, " W"],
        learning: bool,
    ) -> Float[Tensor, ""]:
        low = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if low else weight.dtype
        with torch.autocast("cpu", enabled=False):
            w, b = weight.to(dtype), bias.to(dtype)
            h = functional.pad(hidden.to(dtype), (0, 0, 0, -len(hidden) % ROWS_IN_STEP))
            h_gradient, w_gradient = torch.empty_like(h), _gradient_like(w, len(h))
            loss, b_gradient = bias.new_zeros(()), torch.zeros_like(bias)
            buffer = h.new_empty(min(len(h), ROWS_AT_ONCE), len(w))
            for start in range(0, len(h), ROWS_AT_ONCE):
                block, target = (x[start : start + ROWS_AT_ONCE] for x in (h, targets))
                places = torch.arange(len(target)), target
                logits = torch.mm(block, w.t(), out=buffer[: len(block)]).add_(b)
                gradient = torch.softmax(logits, 1, out=logits)
                likelihoods = gradient[places].to(loss.dtype).log()
                if likelihoods.amin() < -80:  # some probabilities may have become 0
                    exact = functional.linear(block[: len(target)].to(weight.dtype), weight, bias)
                    likelihoods = exact.log_softmax(1)[places]
                loss -= likelihoods.sum()
                if not learning:
                    continue
                gradient[places] -= 1
                b_gradient += gradient[: len(target)].sum(0)
                torch.mm(gradient, w, out=h_gradient[start : start + ROWS_AT_ONCE])
                # The first block needs no sum, which takes a fifteenth of the product's time.
                w_gradient.addmm_(gradient.t(), block, beta=float(start > 0))
        ctx.dtypes = hidden.dtype, weight.dtype, bias.dtype
        ctx.save_for_backward(h_gradient[: len(hidden)], w_gradient, b_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *(_scaled(x, scale, dtype) for x, dtype in gradients), None, None


def _scaled(gradient: Tensor, scale: Float[Tensor, ""], dtype: torch.dtype) -> Tensor:
    """A new tensor, made in one pass where there is nothing to convert."""
    return gradient * scale if gradient.dtype == dtype else gradient.to(dtype).mul_(scale)


def _gradient_like(weight: Float[Tensor, "V D"], rows: int) -> Float[Tensor, "V D"]:
    """To be filled by the first block of rows; zeros where there is none."""
    return torch.empty_like(weight) if rows else torch.zeros_like(weight)
