"""The m-RNN: words and an image in, a distribution over the next word out.

The recurrent layer never sees the image; the two meet in the multimodal layer. So the model has
three parts: `read` gives the sentence's share of that layer, `see` the image's, and `fuse` adds
them and predicts. Training, decoding and scoring are three uses of these.

Letters: B batch, T words, V vocabulary, E embedding, R recurrent, M multimodal, F image feature,
W words that count (the places of a batch that are not padding).
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR 2015.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

IGNORED = -1
"""The target of a place that holds no word."""
ROWS_AT_ONCE = 512
"""How many rows of logits the output layer holds at a time in training."""


class ModelSizes(BaseModel):
    """What a recipe says of an m-RNN; the paper's unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: int = Field(default=128, ge=1)
    """Of the first embedding layer; the second, which r(t) adds, has the recurrent size."""
    recurrent_size: int = Field(default=256, ge=1)
    multimodal_size: int = Field(default=512, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of w(t), r(t), I and m(t) set to zero in training."""
    sees_image: bool = True
    """False for the baseline RNN-Base: the same network without V_I I."""


class ModelConfig(ModelSizes):
    """An m-RNN for one vocabulary and one image feature."""

    vocabulary_size: int = Field(ge=4)
    image_size: int = Field(ge=1)
    """Length of the image feature."""


class MRNN(nn.Module):
    """The network of the paper's section 4, every projection with a bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        recurrent, multimodal = config.recurrent_size, config.multimodal_size
        self.embedding_1 = nn.Embedding(config.vocabulary_size, config.embedding_size)
        self.embedding_2 = nn.Linear(config.embedding_size, recurrent)
        self.recurrence = nn.Linear(recurrent, recurrent, bias=False)
        self.word_to_multimodal = nn.Linear(recurrent, multimodal, bias=False)
        self.recurrent_to_multimodal = nn.Linear(recurrent, multimodal)
        if config.sees_image:
            self.image_to_multimodal = nn.Linear(config.image_size, multimodal, bias=False)
        self.output = nn.Linear(multimodal, config.vocabulary_size)
        # ReLU has no ceiling: a recurrence that starts as a slight decay neither grows nor forgets.
        with torch.no_grad():
            self.recurrence.weight.copy_(0.9 * torch.eye(recurrent))

    def _drop(self, x: Float[Tensor, "*X"]) -> Float[Tensor, "*X"]:
        """Dropout by one random byte a value, several times faster to draw than a float."""
        threshold = round(256 * self.config.dropout)
        if not self.training or threshold == 0:
            return x
        draws = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[: x.numel()].view(x.shape) >= threshold
        return x * kept.to(x.dtype).mul_(256 / (256 - threshold))

    def begin(self, count: int) -> Float[Tensor, "B R"]:
        """The recurrent state of `count` sentences before their first word: r(0) = 0."""
        return self.output.weight.new_zeros(count, self.config.recurrent_size)

    def read(
        self, words: Int[Tensor, "B T"], state: Float[Tensor, "B R"]
    ) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B R"]]:
        """The sentence's share of the multimodal layer, V_w w(t) + V_r r(t): needs no image."""
        w = self._drop(self.embedding_2(self.embedding_1(words)))
        states = []
        for w_t in w.unbind(1):  # r(t) = ReLU(U r(t-1) + w(t))
            state = functional.relu(self.recurrence(state) + w_t)
            states.append(state)
        r = self._drop(torch.stack(states, 1))
        return self.word_to_multimodal(w) + self.recurrent_to_multimodal(r), state

    def see(self, images: Float[Tensor, "*B F"]) -> Float[Tensor, "*B M"]:
        """The image's share of the multimodal layer, V_I I: once per image."""
        if not self.config.sees_image:
            return images.new_zeros(*images.shape[:-1], self.config.multimodal_size)
        seen: Tensor = self.image_to_multimodal(self._drop(images))
        return seen

    def join(
        self, language: Float[Tensor, "*X M"], seen: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X M"]:
        """The multimodal layer: m(t) = g(language + image), g(x) = 1.7159 tanh(2x/3)."""
        multimodal: Tensor = self._drop(1.7159 * torch.tanh((language + seen) * (2 / 3)))
        return multimodal

    def fuse(
        self, language: Float[Tensor, "*X M"], seen: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X V"]:
        """Logits of the next word."""
        logits: Tensor = self.output(self.join(language, seen))
        return logits

    def advance(
        self, words: Int[Tensor, " B"], state: Float[Tensor, "B R"], seen: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B V"], Float[Tensor, "B R"]]:
        """One step of decoding: log-probabilities (nats) of the next word, and the state."""
        language, state = self.read(words[:, None], state)
        return self.fuse(language[:, 0], seen).log_softmax(-1), state

    def forward(
        self, words: Int[Tensor, "B T"], images: Float[Tensor, "B F"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of every next word."""
        language, _ = self.read(words, self.begin(len(words)))
        return self.fuse(language, self.see(images)[:, None])

    def loss(
        self,
        words: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        images: Float[Tensor, "B F"],
    ) -> Float[Tensor, ""]:
        """Minus the log-likelihood (nats) of all `targets` that are not `IGNORED`."""
        language, _ = self.read(words, self.begin(len(words)))
        counted = targets != IGNORED
        multimodal = self.join(language, self.see(images)[:, None])[counted]
        loss: Tensor = _OutputLoss.apply(  # type: ignore[no-untyped-call]
            multimodal,
            self.output.weight,
            self.output.bias,
            targets[counted],
            torch.is_grad_enabled(),
        )
        return loss

    def squared_norm(self) -> Float[Tensor, ""]:
        """||theta||^2 over all weights, for the cost's regulariser."""
        return torch.stack([weight.square().sum() for weight in self.parameters()]).sum()


class _OutputLoss(torch.autograd.Function):
    """Softmax and log-likelihood of the output layer, a block of rows at a time.

    The logits of all words are never held at once: those of a block become their own gradient,
    so the forward pass makes the backward pass's products too.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        multimodal: Float[Tensor, "W M"],
        weight: Float[Tensor, "V M"],
        bias: Float[Tensor, " V"],
        targets: Int[Tensor, " W"],
        learning: bool,
    ) -> Float[Tensor, ""]:
        low = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if low else weight.dtype
        with torch.autocast("cpu", enabled=False):
            m, w, rows = multimodal.to(dtype), weight.to(dtype), ROWS_AT_ONCE
            loss, m_gradient = bias.new_zeros(()), torch.empty_like(m)
            w_gradient, b_gradient = torch.zeros_like(weight), torch.zeros_like(bias)
            for start in range(0, len(m), rows):
                block, target = m[start : start + rows], targets[start : start + rows, None]
                logits = (block @ w.t()).to(bias.dtype).add_(bias)
                gradient = logits.log_softmax(1)
                loss -= gradient.gather(1, target).sum()
                if not learning:
                    continue
                gradient.exp_()
                gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
                b_gradient += gradient.sum(0)
                gradient = gradient.to(dtype)
                m_gradient[start : start + rows] = gradient @ w
                w_gradient += gradient.t() @ block
        ctx.save_for_backward(m_gradient.to(multimodal.dtype), w_gradient, b_gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return *(scale * gradient for gradient in ctx.saved_tensors), None, None
