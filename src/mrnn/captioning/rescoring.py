"""Exact log-probabilities of hypotheses found by the int8 search.

Letters: N photos, M multimodal, H hypotheses of all photos, T words.
"""

from collections.abc import Sequence

import numpy as np

from mrnn.captioning.hypotheses import Hypothesis, length_normalized
from mrnn.model.network import Network
from mrnn.shapes import Float32, Int
from mrnn.tokenizer import Vocabulary


def rescore(
    network: Network,
    images: Float32[np.ndarray, "N M"],
    hypotheses: Sequence[Sequence[Hypothesis]],
    length_penalty: float,
) -> list[list[Hypothesis]]:
    """The same hypotheses in the same order, scored in float32.

    Words go through the network once a prefix, however many hypotheses of a photo share it.
    """
    sentences = [hypothesis.words for found in hypotheses for hypothesis in found]
    if not sentences:
        return [[] for _ in hypotheses]
    photos = np.repeat(np.arange(len(hypotheses)), [len(found) for found in hypotheses])
    exact = iter(_word_log_probabilities(network, images, photos, sentences))
    return [
        [_scored(hypothesis, next(exact), length_penalty) for hypothesis in found]
        for found in hypotheses
    ]


def _scored(
    hypothesis: Hypothesis, log_probabilities: tuple[float, ...], length_penalty: float
) -> Hypothesis:
    score = length_normalized(log_probabilities, length_penalty)
    return Hypothesis(hypothesis.words, log_probabilities, score)


def _word_log_probabilities(
    network: Network,
    images: Float32[np.ndarray, "N M"],
    photos: Int[np.ndarray, " H"],
    sentences: Sequence[tuple[int, ...]],
) -> list[tuple[float, ...]]:
    """Nats of each word and of `<eos>`."""
    lengths = np.array([len(words) for words in sentences])
    targets = np.full((len(sentences), lengths.max() + 1), Vocabulary.EOS)
    for row, sentence in enumerate(sentences):
        targets[row, : len(sentence)] = sentence
    found = np.zeros(targets.shape, np.float32)
    owners, nodes = np.unique(photos, return_inverse=True)  # a node is a prefix of some photo
    words, state = np.full(len(owners), Vocabulary.BOS), network.initial_state(len(owners))
    for step in range(targets.shape[1]):
        rows = np.flatnonzero(lengths >= step)
        if step:
            keys = nodes[rows] * network.config.vocabulary_size + targets[rows, step - 1]
            distinct, places = np.unique(keys, return_inverse=True)
            parents, words = np.divmod(distinct, network.config.vocabulary_size)
            owners, state, nodes[rows] = owners[parents], state[parents], places
        log_probabilities, state = network.step(words, state, images[owners])
        found[rows, step] = log_probabilities[nodes[rows], targets[rows, step]]
    return [tuple(found[row, : length + 1].tolist()) for row, length in enumerate(lengths.tolist())]
