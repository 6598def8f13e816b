"""What every sentence must keep to, as ids and as forbidden next words.

Letters as in `mrnn.captioning.decode`; C words that must appear.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mrnn.captioning.hypotheses import Hypothesis
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from mrnn.tokenizer import SIGNS, Vocabulary, tokenize


@dataclass(frozen=True)
class Constraints:
    """The words in the options, as ids."""

    must: tuple[int, ...] = ()
    must_not: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: DecodingOptions, vocabulary: Vocabulary) -> "Constraints":
        """OptionsError for a word that the vocabulary lacks, or that is asked for and forbidden."""
        must = list(_words("must", options.must))
        must_not = list(_words("must_not", options.must_not))
        prefix = tokenize(options.prefix)
        for option, words in (("must", must), ("must_not", must_not), ("prefix", prefix)):
            for word in words:
                if word not in vocabulary:
                    raise OptionsError(f"{option}: {_unknown(word, vocabulary)}")
                if word in must_not and option != "must_not":
                    raise OptionsError(f"{word!r} is in must_not and in {option} too")
        return cls(*(tuple(vocabulary.encode(words)) for words in (must, must_not, prefix)))

    def check(self, options: DecodingOptions) -> None:
        """OptionsError where the words that are asked for do not fit into a sentence."""
        asked = len(self.prefix) + len({*self.needed} - {*self.prefix})
        if asked > options.maximum_words:
            raise OptionsError(
                f"must and prefix ask for {asked} words, "
                f"but maximum_words is {options.maximum_words}"
            )

    def check_found(self, found: list[list[Hypothesis]], options: DecodingOptions) -> None:
        """OptionsError where an image has no hypothesis."""
        if not all(found):
            raise OptionsError(
                f"No sentence of {options.minimum_words} to {options.maximum_words} words keeps to "
                f"the options: {len(self.must_not)} words are forbidden, "
                f"no_repeat_ngram is {options.no_repeat_ngram}, "
                f"and the prefix has {len(self.prefix)} words"
            )

    @property
    def needed(self) -> tuple[int, ...]:
        """The words that must appear, each once."""
        return tuple(sorted({*self.must}))

    def lacking(self, words: Int[Tensor, "*X T"]) -> Bool[Tensor, "*X C"]:
        """Which of the needed words are not there yet."""
        needed = torch.tensor(self.needed, dtype=torch.long)
        return (words[..., None] != needed).all(-2)

    def forbid(
        self,
        log_probs: Float[Tensor, "X V"],
        words: Int[Tensor, "X T"],
        options: DecodingOptions,
    ) -> None:
        """Set what may not follow `words` to minus infinity, in place."""
        step = words.shape[1]
        log_probs[:, [Vocabulary.START, Vocabulary.UNKNOWN, *self.must_not]] = -torch.inf
        if step < options.minimum_words:
            log_probs[:, Vocabulary.END] = -torch.inf
        if options.no_repeat_ngram:
            _forbid_repeats(log_probs, words, options.no_repeat_ngram)
        if self.must:
            self._leave_room(log_probs, words, options.maximum_words - step)
        if step == options.maximum_words:
            _forbid_all_but(log_probs, Vocabulary.END)
        elif step < len(self.prefix):
            _forbid_all_but(log_probs, self.prefix[step])

    def _leave_room(
        self, log_probs: Float[Tensor, "X V"], words: Int[Tensor, "X T"], room: int
    ) -> None:
        """No end while words are lacking, and only these when there is `room` for no more."""
        lacking = self.lacking(words)
        log_probs[lacking.any(1), Vocabulary.END] = -torch.inf
        last = lacking.any(1) & (lacking.sum(1) >= room)
        others = torch.ones(len(words), log_probs.shape[1], dtype=torch.bool)
        others[:, list(self.needed)] = ~lacking
        log_probs[last[:, None] & others] = -torch.inf


def _forbid_all_but(log_probs: Float[Tensor, "X V"], word: int) -> None:
    kept = log_probs[:, word].clone()
    log_probs.fill_(-torch.inf)[:, word] = kept


def _forbid_repeats(log_probs: Float[Tensor, "X V"], words: Int[Tensor, "X T"], n: int) -> None:
    """What would end a run of `n` words that is there already."""
    if words.shape[1] < n:
        return
    runs = words.unfold(1, n, 1)
    begun = words[:, None, words.shape[1] - n + 1 :]
    rows, places = (runs[:, :, :-1] == begun).all(2).nonzero(as_tuple=True)
    log_probs[rows, runs[rows, places, -1]] = -torch.inf


def _words(option: str, texts: Sequence[str]) -> Iterator[str]:
    """The texts as words of captions."""
    for text in texts:
        words = tokenize(text)
        if len(words) != 1:
            raise OptionsError(f"{option}: {text!r} is not one word; give each word by itself")
        yield words[0]


def _unknown(word: str, vocabulary: Vocabulary) -> str:
    known = vocabulary.words[len(SIGNS) :]
    nearest = difflib.get_close_matches(word, known, 1, cutoff=0)
    hint = f"; the nearest that it knows is {nearest[0]!r}" if nearest else ""
    return f"the model does not know the word {word!r}{hint}"
