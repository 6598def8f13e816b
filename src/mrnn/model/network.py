"""The exported graphs of a trained network, run by ONNX Runtime.

The image enters at the multimodal layer, outside the recurrence. So a network has three parts:
`encode_image` gives the image's part of that layer, `encode_words` the sentence's, and `fuse` adds
them and predicts the next word.

Letters: B batch, N images, F image feature, M multimodal, S state, V vocabulary.
Source: Mao et al., "Deep Captioning with Multimodal Recurrent Neural Networks (m-RNN)", ICLR 2015.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_plain
from mrnn.model.config import ModelConfig
from mrnn.model.onnx_session import Session, open_session
from mrnn.model.tensor_file import layout_of
from mrnn.model.threads import threads_here
from mrnn.shapes import Float, Float32, Int

WEIGHTS = "model.safetensors"
IMAGE, WORDS, LANGUAGE = "image.onnx", "words.onnx", "language.onnx"
OUTPUT, SEARCH = "output.onnx", "search.onnx"
GRAPHS = (IMAGE, WORDS, LANGUAGE, OUTPUT, SEARCH)
LAYOUT, MODEL = "layout", "model"
"""Keys of a graph's metadata: the layout of the weights that it refers to, and its network."""
GATES = {"gru": 3, "lstm": 4}
"""Gates of each kind of recurrent layer that has them."""
LARGEST_GRAPH = 2**20
"""Bytes of a graph: its weights are elsewhere."""
MEND = "copy the whole folder again"
ACTIVATION_STEPS = 63
"""Quantization steps of the multimodal layer, on either side of zero, in `search.onnx`."""


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


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights, by their names in model.safetensors."""
    words, features = config.vocabulary_size, config.image_size
    embedding, recurrent = config.embedding_size, config.recurrent_size
    multimodal = config.multimodal_size
    shapes: dict[str, tuple[int, ...]] = _recurrent_shapes(config)
    if config.network == "simple-rnn":
        return shapes | {
            "embedding.weight": (words, config.word_size), "output.weight": (words, recurrent),
            "output.bias": (words,),
        }  # fmt: skip
    shapes |= {
        "embedding_1.weight": (words, embedding), "output.bias": (words,),
        "word_to_multimodal.weight": (multimodal, config.word_size),
        "recurrent_to_multimodal.weight": (multimodal, recurrent),
        "recurrent_to_multimodal.bias": (multimodal,),
    }  # fmt: skip
    if config.embedding_layers == 2:
        shapes |= {
            "embedding_2.weight": (recurrent, embedding), "embedding_2.bias": (recurrent,)
        }  # fmt: skip
    if config.sees_image:
        shapes["image_to_multimodal.weight"] = (multimodal, features)
    if not config.shares_embedding:
        return shapes | {"output.weight": (words, multimodal)}
    return shapes | {
        "multimodal_to_embedding.weight": (embedding, multimodal),
        "multimodal_to_embedding.bias": (embedding,),
    }


def _recurrent_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    size, layers = config.recurrent_size, range(config.recurrent_layers)
    shapes: dict[str, tuple[int, ...]] = {}
    if config.recurrence in GATES:
        rows = GATES[config.recurrence] * size
        for layer in layers:
            below = size if layer else config.word_size
            for kind, columns in (("ih", below), ("hh", size)):
                shapes[f"recurrence.layers.weight_{kind}_l{layer}"] = (rows, columns)
                shapes[f"recurrence.layers.bias_{kind}_l{layer}"] = (rows,)
        return shapes
    if len(layers) == 1:
        return {"recurrence.weight": (size, size)}
    for layer in layers:
        shapes[f"recurrence.layers.{layer}.weight"] = (size, size)
        if layer:
            shapes[f"recurrence.maps.{layer - 1}.weight"] = (size, size)
            shapes[f"recurrence.maps.{layer - 1}.bias"] = (size,)
    return shapes


def graphs_of(config: ModelConfig) -> list[str]:
    """The files of a network's graphs."""
    others = {IMAGE: config.sees_image, SEARCH: searches_in_int8(config)}
    return [name for name in GRAPHS if others.get(name, True)]


def graph_digests(folder: Path, config: ModelConfig) -> dict[str, str]:
    """The digest of each graph. Raises DataError."""
    return {name: _digest(content) for name, content in _read_graphs(folder, config).items()}


def _read_graphs(folder: Path, config: ModelConfig) -> dict[str, bytes]:
    """Raises DataError."""
    return {name: read_plain(folder / name, LARGEST_GRAPH) for name in graphs_of(config)}


def _digest(graph: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(graph).hexdigest()[:16]


class Network:
    """A trained network. What happens to its files once they are read does not matter.

    Its graphs are opened when they are first used, of what was read.
    """

    def __init__(
        self, folder: Path, config: ModelConfig, weights: bytes, device: str = "cpu"
    ) -> None:
        """`weights` are the content of model.safetensors."""
        self.config = config
        self._folder, self._device = folder, device
        self._contents = {WEIGHTS: weights}
        self._sessions: dict[tuple[str, int], Session] = {}

    def read_graphs(self, digests: Mapping[str, str]) -> None:
        """Raises CheckpointError for a graph that is missing or changed, or of other weights.

        `digests` are those that `graph_digests` gave when the graphs were written.
        """
        try:
            found = _read_graphs(self._folder, self.config)
        except DataError as error:
            raise CheckpointError(f"{error}; {MEND}") from None
        for name, content in found.items():
            if digests.get(name) != _digest(content):
                problem = "is not the graph that config.json beside it names"
                raise CheckpointError(f"{self._folder / name} {problem}; {MEND}")
        self._contents |= found
        for name in found:
            if name != SEARCH:  # for which there is time when it is first used
                self._graph(name)

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
        """Log-probabilities (nats) of the next word; exact. Takes all threads."""
        return self._fuse(language, image, threads_here())

    def _fuse(
        self, language: Float32[np.ndarray, "B M"], image: Float32[np.ndarray, "B M2"], threads: int
    ) -> Float32[np.ndarray, "B V"]:
        inputs = {"language": language}
        if self.config.network == "m-rnn":
            inputs["image"] = image
        return self._graph(OUTPUT, threads).run(inputs)[0]

    def step(
        self,
        words: Int[np.ndarray, " B"],
        state: Float32[np.ndarray, "B S"],
        image: Float32[np.ndarray, "B M"],
    ) -> tuple[Float32[np.ndarray, "B V"], Float32[np.ndarray, "B S"]]:
        """Log-probabilities (nats) of the word after `words`, exact, and the new states."""
        language, state = self.encode_words(words, state)
        return self._fuse(language, image, threads=1), state

    def search_step(
        self,
        words: Int[np.ndarray, " B"],
        state: Float32[np.ndarray, "B S"],
        image: Float32[np.ndarray, "B M"],
    ) -> tuple[Float32[np.ndarray, "B V"], Float32[np.ndarray, "B S"]]:
        """As `step`, with an int8 output layer where the network allows it: twice as fast."""
        language, state = self.encode_words(words, state)
        if not searches_in_int8(self.config):
            return self._fuse(language, image, threads=1), state
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
        return layout_of(self._contents[WEIGHTS])[1]

    def _graph(self, name: str, threads: int = 1) -> Session:
        """Opened when it is first used so. Raises CheckpointError."""
        if self._device != "cpu":
            threads = 1
        if (name, threads) not in self._sessions:
            file = self._folder / name
            contents = {each: self._contents[each] for each in (name, WEIGHTS)}
            session = open_session(
                file, MEND, device=self._device, threads=threads, contents=contents
            )
            if session.metadata.get(LAYOUT) != self._layout:
                raise CheckpointError(f"{file} does not fit the weights beside it; {MEND}")
            if session.metadata.get(MODEL) != describe(self.config):
                raise CheckpointError(f"{file} does not fit config.json beside it; {MEND}")
            self._sessions[name, threads] = session
        return self._sessions[name, threads]


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
