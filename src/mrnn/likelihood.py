"""The likelihood of words under the output layer, made together with its gradient.

Letters: V vocabulary, D input of the output layer, W words.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ROWS_AT_ONCE = 512
"""How many rows of logits are held at a time."""


def negative_log_likelihood(
    output: nn.Linear, hidden: Float[Tensor, "W D"], targets: Int[Tensor, " W"]
) -> Float[Tensor, ""]:
    """In nats, the sum over all words, of softmax(output(hidden))."""
    loss: Tensor = _OutputLoss.apply(  # type: ignore[no-untyped-call]
        hidden, output.weight, output.bias, targets, torch.is_grad_enabled()
    )
    return loss


class _OutputLoss(torch.autograd.Function):
    """Softmax and log-likelihood of the output layer, a block of rows at a time.

    The logits of all words are never held at once: those of a block become their own gradient,
    so the forward pass makes the backward pass's products too.
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
            h, w, rows = hidden.to(dtype), weight.to(dtype), ROWS_AT_ONCE
            loss, h_gradient = bias.new_zeros(()), torch.empty_like(h)
            w_gradient, b_gradient = torch.zeros_like(weight), torch.zeros_like(bias)
            for start in range(0, len(h), rows):
                block, target = h[start : start + rows], targets[start : start + rows, None]
                logits = (block @ w.t()).to(bias.dtype).add_(bias)
                gradient = logits.log_softmax(1)
                loss -= gradient.gather(1, target).sum()
                if not learning:
                    continue
                gradient.exp_()
                gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
                b_gradient += gradient.sum(0)
                gradient = gradient.to(dtype)
                h_gradient[start : start + rows] = gradient @ w
                w_gradient += gradient.t() @ block
        ctx.save_for_backward(h_gradient.to(hidden.dtype), w_gradient, b_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return *(scale * gradient for gradient in ctx.saved_tensors), None, None
