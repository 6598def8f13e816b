"""The m-RNN in PyTorch: words and an image in, a distribution over the next word out.

The recurrent layer never takes the image; both meet in the multimodal layer. `encode_words` gives
the sentence's part of that layer, `encode_image` the image's, and `fuse` adds them and predicts the
next word. The paper's simple RNN has the same methods and takes no image.

Letters: B batch, T words, V vocabulary, E embedding, R recurrent, S state, M multimodal,
F image feature, D input of the output layer, X hypotheses.
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR 2015.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.config import ModelConfig
from mrnn.shapes import Float, Int
from mrnn.training.loss import IGNORED, negative_log_likelihood
from mrnn.training.recurrent_layers import recurrence_of

DROPOUT_GENERATOR = ContextVar[torch.Generator | None]("DROPOUT_GENERATOR", default=None)
"""What seeds dropout on the CPU, in this thread; None for PyTorch's global generator."""


class Dropout(nn.Module):
    """Dropout with one random byte a value: on the CPU several times faster than PyTorch's.

    A generator of PyTorch's seeds NumPy's at each call, so its state is all there is to save. On
    other devices PyTorch's own dropout is faster; the probability is the same.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold = min(255, round(256 * probability))

    def forward(self, x: Float[Tensor, "*X"]) -> Float[Tensor, "*X"]:
        """In training, zero some values and scale up the others, so that the mean stays."""
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.threshold / 256)
        seed = int(torch.randint(2**63 - 1, (), generator=DROPOUT_GENERATOR.get()))
        draws = np.random.SFC64(seed).random_raw(x.numel() // 8 + 1).view(np.uint8)
        kept = torch.from_numpy(draws[: x.numel()]).view(x.shape).ge_(self.threshold)  # 0 or 1
        return x * kept.to(x.dtype).mul_(256 / (256 - self.threshold))


@contextmanager
def seeded_dropout(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout that depends on the seed alone; on the CPU in this thread only."""
    if device.type != "cpu":
        torch.manual_seed(seed)
        yield
        return
    token = DROPOUT_GENERATOR.set(torch.Generator().manual_seed(seed))
    try:
        yield
    finally:
        DROPOUT_GENERATOR.reset(token)


class MRNN(nn.Module):
    """The network of the paper's section 4; every sum of projections has one bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        embedding, multimodal = config.embedding_size, config.multimodal_size
        self.drop = Dropout(config.dropout)
        self.embedding_1 = nn.Embedding(config.vocabulary_size, embedding)
        if config.embedding_layers == 2:
            self.embedding_2 = nn.Linear(embedding, config.recurrent_size)
        self.recurrence = recurrence_of(
            config.recurrence, config.word_size, config.recurrent_size, config.recurrent_layers
        )
        self.word_to_multimodal = nn.Linear(config.word_size, multimodal, bias=False)
        self.recurrent_to_multimodal = nn.Linear(config.recurrent_size, multimodal)
        if config.sees_image:
            self.image_to_multimodal = nn.Linear(config.image_size, multimodal, bias=False)
        if config.shares_embedding:
            self.multimodal_to_embedding = nn.Linear(multimodal, embedding)
            self.output = nn.Linear(embedding, config.vocabulary_size)
            self.output.weight = self.embedding_1.weight
            nn.init.normal_(self.output.weight, std=embedding**-0.5)  # first logits are near 0
        else:
            self.output = nn.Linear(multimodal, config.vocabulary_size)

    def initial_state(self, count: int) -> Float[Tensor, "B S"]:
        """The state of `count` sentences before their first word: r(0) = 0."""
        return self.output.weight.new_zeros(count, self.recurrence.state_size)

    def encode_words(
        self, words: Int[Tensor, "B T"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B S"]]:
        """The sentence's part of the multimodal layer, V_w w(t) + V_r r(t), and the last state."""
        w = self.embedding_1(words)
        if self.config.embedding_layers == 2:
            w = self.embedding_2(w)
        w = self.drop(w)
        r, state = self.recurrence(w, state)
        return self.word_to_multimodal(w) + self.recurrent_to_multimodal(self.drop(r)), state

    def encode_image(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B M"]:
        """The image's part of the multimodal layer, V_I I: once per image.

        It is zero for a network that sees no image, and where there is no photo (F = 0).
        """
        if not self.config.sees_image or features.shape[-1] == 0:
            return features.new_zeros(*features.shape[:-1], self.config.multimodal_size)
        if self.config.image_length:
            features = self.config.image_length * functional.normalize(features, dim=-1)
        image: Tensor = self.image_to_multimodal(self.drop(features))
        return image

    def join(
        self, language: Float[Tensor, "*X M"], image: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X D"]:
        """The multimodal layer, m(t) = g(language + image), as input of the output layer."""
        if self.config.multimodal_activation == "scaled-tanh":
            # 1.7159 tanh(2/3 x), by the sigmoid, which is three times faster in PyTorch
            multimodal = torch.sigmoid((language + image) * (4 / 3)) * (2 * 1.7159) - 1.7159
        else:
            multimodal = torch.tanh(language + image)
        multimodal = self.drop(multimodal)
        if self.config.shares_embedding:
            multimodal = functional.relu(self.multimodal_to_embedding(multimodal))
        return multimodal

    def fuse(
        self, language: Float[Tensor, "*X M"], image: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X V"]:
        """Log-probabilities (nats) of the next word."""
        return log_probabilities(self.output, self.join(language, image))


class SimpleRNN(nn.Module):
    """The network of the paper's section 3: r(t) = f(U [w(t) r(t-1)]), y(t) = softmax(V r(t)).

    w(t) is one-hot, so its part of U is an embedding. No image is used.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.drop = Dropout(config.dropout)
        self.embedding = nn.Embedding(config.vocabulary_size, config.word_size)
        self.recurrence = recurrence_of(
            config.recurrence, config.word_size, config.recurrent_size, config.recurrent_layers
        )
        self.output = nn.Linear(config.recurrent_size, config.vocabulary_size)

    def initial_state(self, count: int) -> Float[Tensor, "B S"]:
        """The state of `count` sentences before their first word: r(0) = 0."""
        return self.output.weight.new_zeros(count, self.recurrence.state_size)

    def encode_words(
        self, words: Int[Tensor, "B T"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every r(t), and the last state."""
        r, state = self.recurrence(self.drop(self.embedding(words)), state)
        return self.drop(r), state

    def encode_image(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B 0"]:
        """Empty: there is no multimodal layer."""
        return features[..., :0]

    def join(
        self,
        language: Float[Tensor, "*X R"],
        image: Float[Tensor, "*#X 0"],  # noqa: ARG002
    ) -> Float[Tensor, "*X R"]:
        """r(t) itself is the input of the output layer."""
        return language

    def fuse(
        self, language: Float[Tensor, "*X R"], image: Float[Tensor, "*#X 0"]
    ) -> Float[Tensor, "*X V"]:
        """Log-probabilities (nats) of the next word."""
        return log_probabilities(self.output, self.join(language, image))


Network = MRNN | SimpleRNN


def network_of(config: ModelConfig) -> Network:
    """The network of a configuration, with random weights."""
    return SimpleRNN(config) if config.network == "simple-rnn" else MRNN(config)


def log_probabilities(output: nn.Linear, hidden: Float[Tensor, "*X D"]) -> Float[Tensor, "*X V"]:
    """Log-softmax (nats) of the output layer."""
    logits: Tensor = output(hidden)
    return logits.log_softmax(-1)


def sentence_loss(
    network: Network,
    words: Int[Tensor, "B T"],
    targets: Int[Tensor, "B T"],
    features: Float[Tensor, "B F"],
) -> Float[Tensor, ""]:
    """Minus the log-likelihood (nats) of all `targets` that are not `IGNORED`."""
    language, _ = network.encode_words(words, network.initial_state(len(words)))
    hidden = network.join(language, network.encode_image(features)[:, None])
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    if hidden.device.type == "cpu":  # elsewhere it would be waited for
        counted = (targets != IGNORED).nonzero()[:, 0]
        # The gradient of index_select is several times faster than that of a mask.
        hidden, targets = hidden.index_select(0, counted), targets[counted]
    return negative_log_likelihood(network.output, hidden, targets)


class TorchLanguageModel:
    """A PyTorch network with the interface of `mrnn.model.network.Network`: arrays in and out.

    The network may be on any device.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._device = network.output.weight.device

    @torch.inference_mode()
    def encode_image(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N M"]:
        """The image's part of the multimodal layer."""
        image = self._network.encode_image(torch.from_numpy(features).to(self._device))
        return _array(image)

    def initial_state(self, count: int) -> Float[np.ndarray, "X S"]:
        """The states of `count` sentences before their first word."""
        return _array(self._network.initial_state(count))

    @torch.inference_mode()
    def step(
        self,
        words: Int[np.ndarray, " X"],
        state: Float[np.ndarray, "X S"],
        image: Float[np.ndarray, "X M"],
    ) -> tuple[Float[np.ndarray, "X V"], Float[np.ndarray, "X S"]]:
        """Log-probabilities (nats) of the word after `words`, and the new states."""
        known, before, joined = (
            torch.from_numpy(x).to(self._device) for x in (words, state, image)
        )
        language, after = self._network.encode_words(known[:, None], before)
        return _array(self._network.fuse(language[:, 0], joined)), _array(after)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
