"""The m-RNN: words and an image in, a distribution over the next word out.

The recurrent layer never sees the image; the two meet in the multimodal layer. So the model has
three parts: `read` gives the sentence's share of that layer, `see` the image's, and `fuse` adds
them and predicts. Training, decoding and scoring are three uses of these. The simple RNN, from
which the paper sets out, has the same face, and ignores what was seen.

Letters: B batch, T words, V vocabulary, E embedding, R recurrent, S state, M multimodal,
F image feature, D what the output layer takes.
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR 2015.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mrnn.model.config import ModelConfig
from mrnn.shapes import Float, Int
from mrnn.training.loss import negative_log_likelihood
from mrnn.training.recurrent_layers import recurrence_of

IGNORED = -1
"""The target of a place that holds no word."""


class Dropout(nn.Module):
    """By one random byte a value, several times faster to draw than a float.

    The library's generator only seeds a faster one, so its state is all there is to keep.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.threshold = min(255, round(256 * share))

    def forward(self, x: Float[Tensor, "*X"]) -> Float[Tensor, "*X"]:
        """In training some values are zero, and the others larger, so that the mean stays."""
        if not self.training or self.threshold == 0:
            return x
        seed = int(torch.randint(2**63 - 1, ()))
        draws = np.random.SFC64(seed).random_raw(x.numel() // 8 + 1).view(np.uint8)
        kept = torch.from_numpy(draws[: x.numel()]).view(x.shape).ge_(self.threshold)  # 0 or 1
        return x * kept.to(x.dtype).mul_(256 / (256 - self.threshold))


class MRNN(nn.Module):
    """The network of the paper's section 4, every projection with a bias."""

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
            nn.init.normal_(self.output.weight, std=embedding**-0.5)  # logits begin near 0
        else:
            self.output = nn.Linear(multimodal, config.vocabulary_size)

    def initial_state(self, count: int) -> Float[Tensor, "B S"]:
        """The recurrent state of `count` sentences before their first word: r(0) = 0."""
        return self.output.weight.new_zeros(count, self.recurrence.state_size)

    def encode_words(
        self, words: Int[Tensor, "B T"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T M"], Float[Tensor, "B S"]]:
        """The sentence's share of the multimodal layer, V_w w(t) + V_r r(t): needs no image."""
        w = self.embedding_1(words)
        if self.config.embedding_layers == 2:
            w = self.embedding_2(w)
        w = self.drop(w)
        r, state = self.recurrence(w, state)
        return self.word_to_multimodal(w) + self.recurrent_to_multimodal(self.drop(r)), state

    def encode_image(self, images: Float[Tensor, "*B F"]) -> Float[Tensor, "*B M"]:
        """The image's share of the multimodal layer, V_I I: once per image."""
        if not self.config.sees_image:
            return images.new_zeros(*images.shape[:-1], self.config.multimodal_size)
        if self.config.image_length:
            images = self.config.image_length * functional.normalize(images, dim=-1)
        seen: Tensor = self.image_to_multimodal(self.drop(images))
        return seen

    def join(
        self, language: Float[Tensor, "*X M"], seen: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X D"]:
        """The multimodal layer, m(t) = g(language + image), as the output layer takes it."""
        if self.config.multimodal_activation == "scaled-tanh":
            # 1.7159 tanh(2/3 x), by a function of which the library is three times faster
            multimodal = torch.sigmoid((language + seen) * (4 / 3)) * (2 * 1.7159) - 1.7159
        else:
            multimodal = torch.tanh(language + seen)
        multimodal = self.drop(multimodal)
        if self.config.shares_embedding:
            multimodal = functional.relu(self.multimodal_to_embedding(multimodal))
        return multimodal

    def fuse(
        self, language: Float[Tensor, "*X M"], seen: Float[Tensor, "*#X M"]
    ) -> Float[Tensor, "*X V"]:
        """Logits of the next word."""
        logits: Tensor = self.output(self.join(language, seen))
        return logits

    def step(
        self, words: Int[Tensor, " B"], state: Float[Tensor, "B S"], seen: Float[Tensor, "B M"]
    ) -> tuple[Float[Tensor, "B V"], Float[Tensor, "B S"]]:
        """One step of decoding: log-probabilities (nats) of the next word, and the state."""
        language, state = self.encode_words(words[:, None], state)
        return self.fuse(language[:, 0], seen).log_softmax(-1), state

    def forward(
        self, words: Int[Tensor, "B T"], images: Float[Tensor, "B F"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of every next word."""
        language, _ = self.encode_words(words, self.initial_state(len(words)))
        return self.fuse(language, self.encode_image(images)[:, None])

    def loss(
        self, words: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], images: Float[Tensor, "B F"]
    ) -> Float[Tensor, ""]:
        """Minus the log-likelihood (nats) of all `targets` that are not `IGNORED`."""
        language, _ = self.encode_words(words, self.initial_state(len(words)))
        hidden = self.join(language, self.encode_image(images)[:, None])
        return _counted_loss(self.output, hidden, targets)


class SimpleRNN(nn.Module):
    """The network of the paper's section 3: r(t) = f(U [w(t) r(t-1)]), y(t) = softmax(V r(t)).

    w(t) is 1 at the place of word t and 0 elsewhere, so its part of U is an embedding. No image
    counts: `see` gives nothing, and `fuse` ignores what was seen.
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
        """The recurrent state of `count` sentences before their first word: r(0) = 0."""
        return self.output.weight.new_zeros(count, self.recurrence.state_size)

    def encode_words(
        self, words: Int[Tensor, "B T"], state: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T R"], Float[Tensor, "B S"]]:
        """Every r(t), and the state after the last."""
        r, state = self.recurrence(self.drop(self.embedding(words)), state)
        return self.drop(r), state

    def encode_image(self, images: Float[Tensor, "*B F"]) -> Float[Tensor, "*B 0"]:
        """Nothing."""
        return images[..., :0]

    def join(
        self,
        language: Float[Tensor, "*X R"],
        seen: Float[Tensor, "*#X 0"],  # noqa: ARG002
    ) -> Float[Tensor, "*X R"]:
        """There is no multimodal layer: the output layer takes r(t) itself."""
        return language

    def fuse(
        self, language: Float[Tensor, "*X R"], seen: Float[Tensor, "*#X 0"]
    ) -> Float[Tensor, "*X V"]:
        """Logits of the next word."""
        logits: Tensor = self.output(self.join(language, seen))
        return logits

    def step(
        self, words: Int[Tensor, " B"], state: Float[Tensor, "B S"], seen: Float[Tensor, "B 0"]
    ) -> tuple[Float[Tensor, "B V"], Float[Tensor, "B S"]]:
        """One step of decoding: log-probabilities (nats) of the next word, and the state."""
        r, state = self.encode_words(words[:, None], state)
        return self.fuse(r[:, 0], seen).log_softmax(-1), state

    def forward(
        self, words: Int[Tensor, "B T"], images: Float[Tensor, "B F"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of every next word."""
        r, _ = self.encode_words(words, self.initial_state(len(words)))
        return self.fuse(r, self.encode_image(images)[:, None])

    def loss(
        self,
        words: Int[Tensor, "B T"],
        targets: Int[Tensor, "B T"],
        images: Float[Tensor, "B F"],  # noqa: ARG002
    ) -> Float[Tensor, ""]:
        """Minus the log-likelihood (nats) of all `targets` that are not `IGNORED`."""
        r, _ = self.encode_words(words, self.initial_state(len(words)))
        return _counted_loss(self.output, r, targets)


def _counted_loss(
    output: nn.Linear, hidden: Float[Tensor, "B T D"], targets: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Over the places that hold a word."""
    places = (targets.flatten() != IGNORED).nonzero()[:, 0]
    # The gradient of index_select is several times faster than that of a mask.
    words = hidden.flatten(0, 1).index_select(0, places)
    return negative_log_likelihood(output, words, targets.flatten()[places])


Network = MRNN | SimpleRNN


def network_of(config: ModelConfig) -> Network:
    """The network that a configuration describes, with its first weights."""
    return SimpleRNN(config) if config.network == "simple-rnn" else MRNN(config)


class TorchLanguageModel:
    """A network in training as decoding takes it: arrays in, arrays out."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @torch.inference_mode()
    def encode_image(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N M"]:
        """The image's part of the multimodal layer."""
        image: np.ndarray = self._network.encode_image(torch.from_numpy(features)).numpy()
        return image

    def initial_state(self, count: int) -> Float[np.ndarray, "X S"]:
        """The states of `count` sentences before their first word."""
        state: np.ndarray = self._network.initial_state(count).numpy()
        return state

    @torch.inference_mode()
    def step(
        self,
        words: Int[np.ndarray, " X"],
        state: Float[np.ndarray, "X S"],
        image: Float[np.ndarray, "X M"],
    ) -> tuple[Float[np.ndarray, "X V"], Float[np.ndarray, "X S"]]:
        """Log-probabilities (nats) of the word after `words`, and the new states."""
        arrays = (torch.from_numpy(np.ascontiguousarray(x)) for x in (words, state, image))
        log_probs, new_state = self._network.step(*arrays)
        return log_probs.numpy(), new_state.numpy()
