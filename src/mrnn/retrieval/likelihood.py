"""How well sentences fit images: perplexity, and log-likelihoods of all sentence-image pairs.

The recurrent state does not depend on the image. So each beginning of a sentence is read once,
however many sentences share it, each image is seen once, and only multimodal and output layer
are worked out for each pair.

Letters: S sentences, N images, M multimodal, F image feature, W nodes of a trie, B rows at once,
V vocabulary, K sampled images.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mrnn.shapes import Bool, Float, Int
from mrnn.tokenizer import Vocabulary
from mrnn.training.batches import Batch
from mrnn.training.loss import ROWS_IN_STEP
from mrnn.training.network import IGNORED, Network

MOST_NATS = math.log(sys.float_info.max)
"""A word's: beyond, perplexity is greater than any float."""
MEMORY = 512_000_000
"""Bytes that scoring takes at most, beside its arguments and its result."""
ROWS_AT_ONCE = 512
"""How many rows of logits are held at a time; more are no faster."""
IMAGES_AT_ONCE = 64

Words = Sequence[int] | Int[np.ndarray, " _"]
"""Ids of a sentence's words, without the signs of start and end."""


@torch.inference_mode()
def perplexity(model: Network, batches: Iterable[Batch]) -> float:
    """2 ** -(mean log2 P) over all predicted words, end signs and unknown words counted."""
    nats, words = 0.0, 0
    for batch in batches:
        nats += float(model.loss(batch.words, batch.targets, batch.images))
        words += batch.word_count
    return perplexity_of(nats, words)


@torch.inference_mode()
def caption_nats(model: Network, batches: Iterable[Batch], count: int) -> Float[np.ndarray, "S 2"]:
    """Minus log P of the words of each of `count` captions, and of its end sign."""
    nats = np.zeros((count, 2))
    for batch in batches:
        counted = batch.targets != IGNORED
        logits, targets = model(batch.words, batch.images), batch.targets.where(counted, 0)
        gained = logits.gather(2, targets[..., None])[..., 0] - logits.logsumexp(2)
        ends = batch.targets == Vocabulary.EOS
        for column, chosen in enumerate((counted & ~ends, ends)):
            nats[batch.rows, column] = -(gained * chosen).double().sum(1).numpy()
    return nats


def perplexity_of(nats: float, words: int) -> float:
    """Of `words` words that cost so many nats together; infinite where a float cannot hold it."""
    return math.inf if nats / words >= MOST_NATS else math.exp(nats / words)


@torch.inference_mode()
def log_likelihoods(
    model: Network,
    sentences: Sequence[Words],
    images: Float[np.ndarray, "N F"],
    *,
    wanted: Bool[np.ndarray, "S N"] | None = None,
    precision: torch.dtype = torch.float32,
    memory: int = MEMORY,
    on_pairs: Callable[[int], None] = lambda _: None,
) -> Float[np.ndarray, "S N"]:
    """Nats of log P(sentence | image), the end sign included, of all pairs or those `wanted`.

    Pairs that are not wanted get minus infinity. float32 is the reference; bfloat16 is for the
    output layer's product only. `memory`, in bytes, holds what is at hand beside the result and
    the image's share of the multimodal layer, which is as large as `images`. `on_pairs` is called
    with the number of pairs done.
    """
    seen = torch.cat([model.see(block) for block in _blocks(images)])
    weight = model.output.weight.to(precision).t()
    words_at_once = max(1, memory // 2 // _bytes_per_word(model))
    rows = min(ROWS_AT_ONCE, max(1, memory // 2 // (16 * model.config.vocabulary_size)))
    scores = np.full((len(sentences), len(seen)), -np.inf, dtype=np.float32)
    for chosen in _like_sentences(sentences, words_at_once):
        trie = _Trie.of([sentences[i] for i in chosen])
        language = trie.read(model)
        for start in range(0, len(seen), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            asked = np.ones((len(chosen), len(seen[part])), dtype=bool)
            if wanted is not None:
                asked = wanted[chosen, part]
            found = trie.score(model, language, seen[part], weight, asked, rows)
            scores[chosen, part] = np.where(asked, found, -np.inf)
            on_pairs(int(asked.sum()))
    return scores


def log_marginals(scores: Float[np.ndarray, "S K"]) -> Float[np.ndarray, " S"]:
    """Nats of log P(sentence), from the log-likelihoods with K sampled images."""
    exact = torch.from_numpy(scores).double()
    return (exact.logsumexp(1) - math.log(scores.shape[1])).float().numpy()


@dataclass(frozen=True)
class _Trie:
    """Sentences as a tree of words. A node is a word after all those above it."""

    words: Int[Tensor, " W"]
    parents: Int[Tensor, " W"]
    levels: list[slice]
    """The nodes of each depth: at 0 the start sign alone."""
    ends: Int[Tensor, " S"]
    """The node of each sentence's end sign."""

    @classmethod
    def of(cls, sentences: Sequence[Words]) -> "_Trie":
        whole = [[*map(int, sentence), Vocabulary.EOS] for sentence in sentences]
        words, parents, levels = [Vocabulary.BOS], [0], [slice(0, 1)]
        nodes = [0] * len(whole)
        for depth in range(max(map(len, whole))):
            known: dict[tuple[int, int], int] = {}
            start = len(words)
            for i, sentence in enumerate(whole):
                if depth < len(sentence):
                    step = (nodes[i], sentence[depth])
                    if step not in known:
                        known[step] = len(words)
                        parents.append(nodes[i])
                        words.append(sentence[depth])
                    nodes[i] = known[step]
            levels.append(slice(start, len(words)))
        return cls(torch.tensor(words), torch.tensor(parents), levels, torch.tensor(nodes))

    def read(self, model: Network) -> Float[Tensor, "W M"]:
        """Each node's language share of the multimodal layer."""
        shares, state = [], model.begin(1)
        for level, above in zip(self.levels, [slice(0, 1), *self.levels], strict=False):
            state = state[self.parents[level] - above.start]
            share, state = model.read(self.words[level, None], state)
            shares.append(share[:, 0])
        return torch.cat(shares)

    def score(
        self,
        model: Network,
        language: Float[Tensor, "W M"],
        seen: Float[Tensor, "N M"],
        weight: Tensor,
        asked: Bool[np.ndarray, "S N"],
        rows: int,
    ) -> Float[np.ndarray, "S N"]:
        """The log-likelihood of each sentence with each image; anything where not asked."""
        totals = torch.zeros(len(self.words), len(seen))
        nodes, images = self._needed(asked).nonzero(as_tuple=True)
        # A distribution is that of a node and an image, and its words are the node's children.
        keys, row = torch.unique(self.parents[nodes] * len(seen) + images, return_inverse=True)
        order = row.argsort(stable=True)
        nodes, images, row = nodes[order], images[order], row[order]
        for start in range(0, len(keys), rows):
            key = keys[start : start + rows]
            multimodal = model.join(language[key // len(seen)], seen[key % len(seen)])
            filled = functional.pad(multimodal, (0, 0, 0, -len(key) % min(ROWS_IN_STEP, rows)))
            logits = (filled.to(weight.dtype) @ weight)[: len(key)].float() + model.output.bias
            bounds = torch.tensor([start, start + len(key)])
            some = slice(*torch.searchsorted(row, bounds).tolist())
            place = row[some] - start
            gained = logits[place, self.words[nodes[some]]] - logits.logsumexp(1)[place]
            totals[nodes[some], images[some]] = gained
        for level in self.levels[1:]:
            totals[level] += totals[self.parents[level]]
        return totals[self.ends].numpy()

    def _needed(self, asked: Bool[np.ndarray, "S N"]) -> Bool[Tensor, "W N"]:
        """Which nodes, but the first, lie on the way to a sentence that is asked for."""
        needed = torch.zeros(len(self.words), asked.shape[1], dtype=torch.int32)
        needed.index_add_(0, self.ends, torch.from_numpy(asked).int())
        for level in reversed(self.levels[1:]):
            needed.index_add_(0, self.parents[level], needed[level].clone())
        needed[0] = 0
        return needed > 0


def _like_sentences(sentences: Sequence[Words], words_at_once: int) -> Iterator[list[int]]:
    """Which sentences to take together: neighbours in the alphabet, which begin alike."""
    chosen: list[int] = []
    words = 0
    for i in sorted(range(len(sentences)), key=lambda i: tuple(map(int, sentences[i]))):
        length = len(sentences[i]) + 1
        if chosen and words + length > words_at_once:
            yield chosen
            chosen, words = [], 0
        chosen.append(i)
        words += length
    if chosen:
        yield chosen


def _blocks(images: Float[np.ndarray, "N F"]) -> Iterator[Float[Tensor, "_ F"]]:
    for start in range(0, len(images), ROWS_AT_ONCE):
        yield torch.from_numpy(images[start : start + ROWS_AT_ONCE].astype(np.float32))


def _bytes_per_word(model: Network) -> int:
    """Of a node: its shares, its states, and for each of some images what `score` holds."""
    sizes = model.config
    return 8 * sizes.multimodal_size + 8 * sizes.recurrent_size + 80 * IMAGES_AT_ONCE
