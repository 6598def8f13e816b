"""A fake language model that is small enough to list all that it can say."""

import itertools

import torch

from mrnn.tokenizer import Vocabulary

START, END, UNKNOWN = Vocabulary.START, Vocabulary.END, Vocabulary.UNKNOWN


class TableModel:
    """The next word's distribution depends on the last two words and on the image."""

    def __init__(self, vocabulary: int, seed: int = 0, sharpness: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (vocabulary, vocabulary, vocabulary)
        self.vocabulary = vocabulary
        self.logits = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)

    def begin(self, count):
        return torch.full((count, 1), float(START), dtype=torch.float64)

    def advance(self, words, state, seen):
        logits = self.logits[state[:, 0].long(), words] + seen
        return logits.log_softmax(-1), words[:, None].double()

    def next_word(self, sentence, seen):
        """Log-probabilities of the word after the words of an unfinished sentence."""
        before, last = [START, START, *sentence][-2:]
        return (self.logits[before, last] + seen).log_softmax(-1).tolist()

    def sentences(self, seen, longest):
        """Every sentence that may be said, with its log-probabilities: brute force."""
        words = [w for w in range(self.vocabulary) if w not in (START, END, UNKNOWN)]
        for length in range(1, longest + 1):
            for sentence in itertools.product(words, repeat=length):
                steps = [
                    self.next_word(sentence[:place], seen)[word]
                    for place, word in enumerate((*sentence, END))
                ]
                yield sentence, steps
