"""The exported graphs of a trained network, run by ONNX Runtime.

The image enters at the multimodal layer, outside the recurrence. So a network has three parts:
`encode_image` gives the image's part of that layer, `encode_words` the sentence's, and `fuse` adds
them and predicts the next word.

Letters: B batch, N images, F image feature, M multimodal, S state, V vocabulary.
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR 2015.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mrnn.errors import CheckpointError
from mrnn.model.config import ModelConfig
from mrnn.model.onnx_session import Session, open_session
from mrnn.shapes import Float, Float32, Int

WEIGHTS = "model.safetensors"
IMAGE, WORDS, LANGUAGE = "image.onnx", "words.onnx", "language.onnx"
OUTPUT, SEARCH = "output.onnx", "search.onnx"
GRAPHS = (IMAGE, WORDS, LANGUAGE, OUTPUT, SEARCH)
LAYOUT, MODEL = "layout", "model"
"""Keys of a graph's metadata: the layout of the weights that it refers to, and its network."""
MEND = "copy the whole folder again"
ACTIVATION_STEPS = 63
"""Quantization steps of the multimodal layer, on either side of zero, in `search.onnx`."""


@dataclass(frozen=True)
class TensorLayout:
    """Where a tensor is in a safetensors file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    """In bytes from the start of the file."""
    length: int


def read_layout(file: Path) -> tuple[dict[str, TensorLayout], str]:
    """The tensors of a safetensors file, and a digest of where they are. Raises OSError."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
    header.pop("__metadata__", None)
    tensors = {
        name: TensorLayout(form["dtype"], tuple(form["shape"]), 8 + size + start, end - start)
        for name, form in header.items()
        for start, end in [form["data_offsets"]]
    }
    content = json.dumps([size, sorted(header.items())], sort_keys=True)
    return tensors, hashlib.sha256(content.encode()).hexdigest()[:16]


def describe(config: ModelConfig) -> str:
    """A network as JSON, for the metadata of its graphs: the options that are not the default."""
    return config.model_dump_json(exclude_defaults=True)


def searches_in_int8(config: ModelConfig) -> bool:
    """Whether the input of the output layer is the multimodal layer, whose values are bounded."""
    return config.network == "m-rnn" and not config.shares_embedding


def state_size(config: ModelConfig) -> int:
    """S: the size of a recurrent state, all layers together."""
    parts = 2 if config.recurrence == "lstm" else 1
    return parts * config.recurrent_layers * config.recurrent_size


class Network:
    """A trained network. Its graphs are opened when they are first used."""

    def __init__(self, folder: Path, config: ModelConfig) -> None:
        self.config = config
        self._folder = folder
        self._sessions: dict[str, Session] = {}

    def check(self) -> None:
        """Raises CheckpointError for a graph that is missing, or of other weights or config."""
        for name in (WORDS, LANGUAGE, OUTPUT):
            self._graph(name)
        if self.config.sees_image:
            self._graph(IMAGE)
        if searches_in_int8(self.config) and not (self._folder / SEARCH).is_file():
            raise CheckpointError(f"{self._folder / SEARCH} is missing; {MEND}")

    @property
    def image_size(self) -> int:
        """M: the size of the multimodal layer; 0 for the simple RNN."""
        return self.config.multimodal_size if self.config.network == "m-rnn" else 0

    def initial_state(self, count: int) -> Float32[np.ndarray, "B S"]:
        """The states of `count` sentences before their first word: r(0) = 0."""
        return np.zeros((count, state_size(self.config)), np.float32)

    def encode_image(self, features: Float[np.ndarray, "N F"]) -> Float32[np.ndarray, "N M"]:
        """The image's part of the multimodal layer, V_I I: once an image."""
        if not self.config.sees_image:
            return np.zeros((len(features), self.image_size), np.float32)
        return self._graph(IMAGE).run({"features": features.astype(np.float32)})[0]

    def encode_words(
        self, words: Int[np.ndarray, " B"], state: Float32[np.ndarray, "B S"]
    ) -> tuple[Float32[np.ndarray, "B M"], Float32[np.ndarray, "B S"]]:
        """The sentence's part, V_w w(t) + V_r r(t), one word further, and the new state."""
        language, state = self._graph(LANGUAGE).run({**self._look_up(words), "state": state})
        return language, state

    def fuse(
        self, language: Float32[np.ndarray, "B M"], image: Float32[np.ndarray, "B M2"]
    ) -> Float32[np.ndarray, "B V"]:
        """Log-probabilities (nats) of the next word; exact."""
        inputs = {"language": language}
        if self.config.network == "m-rnn":
            inputs["image"] = image
        return self._graph(OUTPUT).run(inputs)[0]

    def step(
        self,
        words: Int[np.ndarray, " B"],
        state: Float32[np.ndarray, "B S"],
        image: Float32[np.ndarray, "B M"],
    ) -> tuple[Float32[np.ndarray, "B V"], Float32[np.ndarray, "B S"]]:
        """Log-probabilities (nats) of the word after `words`, exact, and the new states."""
        language, state = self.encode_words(words, state)
        return self.fuse(language, image), state

    def search_step(
        self,
        words: Int[np.ndarray, " B"],
        state: Float32[np.ndarray, "B S"],
        image: Float32[np.ndarray, "B M"],
    ) -> tuple[Float32[np.ndarray, "B V"], Float32[np.ndarray, "B S"]]:
        """As `step`, with an int8 output layer where the network allows it: twice as fast."""
        language, state = self.encode_words(words, state)
        if not searches_in_int8(self.config):
            return self.fuse(language, image), state
        return self._graph(SEARCH).run({"language": language, "image": image})[0], state

    def _look_up(self, words: Int[np.ndarray, " B"]) -> dict[str, Float32[np.ndarray, "B _"]]:
        """w(t), and V_w w(t) of a network with a multimodal layer; computed once a word."""
        known, tables = self._tables
        unknown = words[~known[words]]
        if len(unknown):
            new = np.flatnonzero(np.bincount(unknown))
            found = self._graph(WORDS).run({"words": new})
            for table, rows in zip(tables.values(), found, strict=True):
                table[new] = rows
            known[new] = True
        return {name: table[words] for name, table in tables.items()}

    @cached_property
    def _tables(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Which words were looked up, and the output of `words.onnx` for them."""
        count = self.config.vocabulary_size
        sizes = {"word": self.config.word_size}
        if self.config.network == "m-rnn":
            sizes["word_part"] = self.config.multimodal_size
        tables = {name: np.zeros((count, size), np.float32) for name, size in sizes.items()}
        return np.zeros(count, bool), tables

    @cached_property
    def _layout(self) -> str:
        return read_layout(self._folder / WEIGHTS)[1]

    def _graph(self, name: str) -> Session:
        """Opened when it is first used. Raises CheckpointError."""
        if name not in self._sessions:
            file = self._folder / name
            session = open_session(file, MEND)
            if session.metadata.get(LAYOUT) != self._layout:
                raise CheckpointError(f"{file} does not fit the weights beside it; {MEND}")
            if session.metadata.get(MODEL) != describe(self.config):
                raise CheckpointError(f"{file} does not fit config.json beside it; {MEND}")
            self._sessions[name] = session
        return self._sessions[name]


class Int8Search:
    """A network for search, with an int8 output layer: twice as fast."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def initial_state(self, count: int) -> Float32[np.ndarray, "B S"]:
        """As the network's."""
        return self._network.initial_state(count)

    def step(
        self,
        words: Int[np.ndarray, " B"],
        state: Float32[np.ndarray, "B S"],
        image: Float32[np.ndarray, "B M"],
    ) -> tuple[Float32[np.ndarray, "B V"], Float32[np.ndarray, "B S"]]:
        """As the network's, within some hundredths of a nat."""
        return self._network.search_step(words, state, image)
