"""A fake language model that is small enough to list all that it can say."""

import itertools

import numpy as np

from mrnn.tokenizer import Vocabulary

BOS, EOS, UNK = Vocabulary.BOS, Vocabulary.EOS, Vocabulary.UNK


class TableModel:
    """The next word's distribution depends on the last two words and on the image."""

    def __init__(self, vocabulary, seed=0, sharpness=2.0):
        shape = (vocabulary, vocabulary, vocabulary)
        self.vocabulary = vocabulary
        self.logits = sharpness * np.random.default_rng(seed).normal(size=shape)

    def initial_state(self, count):
        return np.full((count, 1), float(BOS))

    def step(self, words, state, image):
        logits = self.logits[state[:, 0].astype(int), words] + image
        return log_softmax(logits), words[:, None].astype(float)

    def next_word(self, sentence, image):
        """Log-probabilities of the word after the words of an unfinished sentence."""
        before, last = [BOS, BOS, *sentence][-2:]
        return log_softmax(self.logits[before, last] + image).tolist()

    def sentences(self, image, longest):
        """Every sentence that may be said, with its log-probabilities: brute force."""
        words = [w for w in range(self.vocabulary) if w not in (BOS, EOS, UNK)]
        for length in range(1, longest + 1):
            for sentence in itertools.product(words, repeat=length):
                steps = [
                    self.next_word(sentence[:place], image)[word]
                    for place, word in enumerate((*sentence, EOS))
                ]
                yield sentence, steps


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def random_images(count, vocabulary, seed=0):
    return np.random.default_rng(seed).normal(size=(count, vocabulary))
