"""Log-likelihoods of sentences given images.

The recurrent state does not depend on the image. So the network reads each prefix once, however
many sentences begin with it, and only the multimodal and the output layer run for each pair of a
prefix and an image.

Letters: S sentences, N images, F image feature, M multimodal, W prefixes, K sampled images,
V vocabulary, B batch, C words that follow one of the batch.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrnn.model.network import Network
from mrnn.shapes import Bool, Float, Float32, Float64, Int
from mrnn.tokenizer import Vocabulary

MEMORY = 512_000_000
"""Bytes that likelihoods take at most, beside arguments and result."""
ROWS_AT_ONCE = 256
"""Distributions over the vocabulary held at a time; more are no faster."""
IMAGES_AT_ONCE, CAPTIONS_AT_ONCE = 64, 256

Words = Sequence[int] | Int[np.ndarray, " _"]
"""Ids of a sentence's words, without `<bos>` and `<eos>`."""


def log_likelihoods(
    network: Network,
    sentences: Sequence[Words],
    features: Float[np.ndarray, "N F"],
    *,
    wanted: Bool[np.ndarray, "S N"] | None = None,
    memory: int = MEMORY,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> Float32[np.ndarray, "S N"]:
    """Nats of log P(sentence | image), `<eos>` included, of all pairs or of those `wanted`.

    Pairs that are not wanted get minus infinity. `memory`, in bytes, bounds what is held beside the
    result and the images' parts of the multimodal layer. `on_pairs` is called with the number of
    pairs done.
    """
    images = _encode_images(network, features)
    words_at_once = max(1, memory // 2 // _bytes_per_word(network))
    rows = min(ROWS_AT_ONCE, max(1, memory // 2 // (16 * network.config.vocabulary_size)))
    scores = np.full((len(sentences), len(images)), -np.inf, dtype=np.float32)
    for chosen in _alphabetical_blocks(sentences, words_at_once):
        trie = _Trie.of([sentences[i] for i in chosen])
        language = trie.encode(network)
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            asked = np.ones((len(chosen), len(images[part])), dtype=bool)
            if wanted is not None:
                asked = wanted[chosen, part]
            words, eos = trie.score(network, language, images[part], asked, rows)
            scores[chosen, part] = np.where(asked, words[0] + eos, -np.inf)
            on_pairs(int(asked.sum()))
    return scores


def caption_log_likelihoods(
    network: Network,
    sentences: Sequence[Words],
    features: Float[np.ndarray, "N F"],
    image_rows: Int[np.ndarray, " S"],
    *,
    unknown: Bool[np.ndarray, " V"] | None = None,
) -> Float64[np.ndarray, "S _"]:
    """Nats of log P(words | image) and of log P(`<eos>` | words, image), of each caption.

    `image_rows` are the rows of the captions' images among the features. With `unknown`, some of
    the network's words, a third column: log P(words | image) where these words count as one, whose
    probability is the sum of theirs. What the network reads stays the same.
    """
    found = np.empty((len(sentences), 2 if unknown is None else 3))
    order = np.argsort(image_rows, kind="stable")
    for start in range(0, len(order), CAPTIONS_AT_ONCE):
        chosen = _alphabetical(sentences, order[start : start + CAPTIONS_AT_ONCE].tolist())
        rows, columns = np.unique(image_rows[chosen], return_inverse=True)
        trie = _Trie.of([sentences[i] for i in chosen])
        asked = columns[:, None] == np.arange(len(rows))
        images = _encode_images(network, features[rows])
        language = trie.encode(network)
        words, eos = trie.score(network, language, images, asked, ROWS_AT_ONCE, unknown)
        own, *pooled = (each[asked] for each in words)
        found[chosen] = np.stack([own, eos[asked], *pooled], axis=1)
    return found


def log_marginals(scores: Float[np.ndarray, "S K"]) -> Float32[np.ndarray, " S"]:
    """Nats of log P(sentence), from the log-likelihoods with K sampled images."""
    sums = np.logaddexp.reduce(scores.astype(np.float64), axis=1)
    return np.asarray(sums - math.log(scores.shape[1]), dtype=np.float32)


@dataclass(frozen=True)
class _Trie:
    """The prefixes of some sentences as a tree; a prefix is its last word after the one above."""

    words: Int[np.ndarray, " W"]
    """The first is `<bos>`."""
    parents: Int[np.ndarray, " W"]
    """Never decreasing, so that what follows a prefix is a run."""
    levels: list[slice]
    """The prefixes of each length; of length 0, `<bos>` alone."""
    ends: Int[np.ndarray, " S"]
    """The prefix that is a whole sentence."""

    @classmethod
    def of(cls, sentences: Sequence[Words]) -> "_Trie":
        """Of sentences in alphabetical order."""
        words, parents, levels = [Vocabulary.BOS], [0], [slice(0, 1)]
        ends = np.zeros(len(sentences), dtype=np.int64)
        for depth in range(max(map(len, sentences))):
            start = len(words)
            for i, sentence in enumerate(sentences):
                if depth < len(sentence):
                    word, parent = int(sentence[depth]), int(ends[i])
                    if len(words) == start or (words[-1], parents[-1]) != (word, parent):
                        words.append(word)
                        parents.append(parent)
                    ends[i] = len(words) - 1
            levels.append(slice(start, len(words)))
        return cls(np.array(words), np.array(parents), levels, ends)

    def encode(self, network: Network) -> Float32[np.ndarray, "W M"]:
        """Each prefix's part of the multimodal layer."""
        parts, state = [], network.initial_state(1)
        for level, above in zip(self.levels, [slice(0, 1), *self.levels], strict=False):
            state = state[self.parents[level] - above.start]
            part, state = network.encode_words(self.words[level], state)
            parts.append(part)
        return np.concatenate(parts)

    def score(
        self,
        network: Network,
        language: Float32[np.ndarray, "W M"],
        images: Float32[np.ndarray, "N M"],
        asked: Bool[np.ndarray, "S N"],
        rows_at_once: int,
        unknown: Bool[np.ndarray, " V"] | None = None,
    ) -> tuple[Float32[np.ndarray, "_ S N"], Float32[np.ndarray, "S N"]]:
        """Log P(words | image) and log P(`<eos>` | words, image); anything where not asked.

        With `unknown`, the former is there twice, the second time with these words as one.
        """
        prefixes, columns = np.nonzero(self._needed(asked))
        shape = (len(self.words), len(images))
        words = np.zeros((1 if unknown is None else 2, *shape), dtype=np.float32)
        eos = np.zeros(shape, dtype=np.float32)
        for start in range(0, len(prefixes), rows_at_once):
            prefix, column = (x[start : start + rows_at_once] for x in (prefixes, columns))
            log_probabilities = network.fuse(language[prefix], images[column])
            eos[prefix, column] = log_probabilities[:, Vocabulary.EOS]
            row, longer = self._longer(prefix)
            found = log_probabilities[row, self.words[longer]]
            words[0, longer, column[row]] = found
            if unknown is not None:
                pooled = unknown[self.words[longer]]
                found[pooled] = _log_sums(log_probabilities, row[pooled], unknown)
                words[1, longer, column[row]] = found
        for level in self.levels[1:]:
            words[:, level] += words[:, self.parents[level]]
        return words[:, self.ends], eos[self.ends]

    def _needed(self, asked: Bool[np.ndarray, "S N"]) -> Bool[np.ndarray, "W N"]:
        """Which prefixes begin a sentence that is asked for."""
        needed = np.zeros((len(self.words), asked.shape[1]), dtype=bool)
        np.logical_or.at(needed, self.ends, asked)
        for level in reversed(self.levels[1:]):
            np.logical_or.at(needed, self.parents[level], needed[level])
        return needed

    def _longer(
        self, prefixes: Int[np.ndarray, " B"]
    ) -> tuple[Int[np.ndarray, " C"], Int[np.ndarray, " C"]]:
        """All that are one word longer: whose they are among the given, and which."""
        first, end = (
            1 + np.searchsorted(self.parents[1:], prefixes, side) for side in ("left", "right")
        )
        counts = end - first
        row = np.repeat(np.arange(len(prefixes)), counts)
        return row, np.arange(len(row)) + (end - counts.cumsum())[row]


def _log_sums(
    log_probabilities: Float32[np.ndarray, "B V"],
    rows: Int[np.ndarray, " C"],
    words: Bool[np.ndarray, " V"],
) -> Float64[np.ndarray, " C"]:
    """Log of the probability of any of these words, of each of some rows."""
    each, which = np.unique(rows, return_inverse=True)
    sums = np.logaddexp.reduce(log_probabilities[each][:, words].astype(np.float64), axis=1)
    return np.asarray(sums[which])


def _alphabetical(sentences: Sequence[Words], chosen: Iterable[int]) -> list[int]:
    return sorted(chosen, key=lambda i: tuple(map(int, sentences[i])))


def _alphabetical_blocks(sentences: Sequence[Words], words_at_once: int) -> Iterator[list[int]]:
    """Which sentences to take together: neighbours in the alphabet, which begin alike."""
    chosen: list[int] = []
    words = 0
    for i in _alphabetical(sentences, range(len(sentences))):
        length = len(sentences[i]) + 1
        if chosen and words + length > words_at_once:
            yield chosen
            chosen, words = [], 0
        chosen.append(i)
        words += length
    if chosen:
        yield chosen


def _encode_images(
    network: Network, features: Float[np.ndarray, "N F"]
) -> Float32[np.ndarray, "N M"]:
    """A block at a time: features may be a memory map of float16."""
    images = np.empty((len(features), network.image_size), dtype=np.float32)
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        images[part] = network.encode_image(features[part])
    return images


def _bytes_per_word(network: Network) -> int:
    """Of a prefix: its part, its states, and for each of some images what `score` holds."""
    language, state = network.encode_words(np.array([Vocabulary.BOS]), network.initial_state(1))
    return 4 * language.size + 8 * state.size + 80 * IMAGES_AT_ONCE
