"""Constraints on sentences, as word ids and as forbidden next words.

Letters as in `mrnn.captioning.hypotheses`; W words that must appear.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrnn.captioning.hypotheses import Hypothesis
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from mrnn.shapes import Bool, Float, Int
from mrnn.tokenizer import SPECIAL_TOKENS, Vocabulary, tokenize


@dataclass(frozen=True)
class Constraints:
    """The words in the options, as ids."""

    force_words: tuple[int, ...] = ()
    bad_words: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: DecodingOptions, vocabulary: Vocabulary) -> "Constraints":
        """Raises OptionsError for an unknown word, or one that is forced and forbidden."""
        force = list(_words("force_words", options.force_words))
        bad = list(_words("bad_words", options.bad_words))
        prefix = tokenize(options.prefix)
        for option, words in (("force_words", force), ("bad_words", bad), ("prefix", prefix)):
            for word in words:
                if word not in vocabulary:
                    raise OptionsError(f"{option}: {_unknown(word, vocabulary)}")
                if word in bad and option != "bad_words":
                    raise OptionsError(f"{word!r:.60} is in bad_words and in {option} too")
        return cls(*(tuple(vocabulary.encode(words)) for words in (force, bad, prefix)))

    def check(self, options: DecodingOptions) -> None:
        """Raises OptionsError if the words that are asked for need a longer sentence."""
        asked = len(self.prefix) + len({*self.needed} - {*self.prefix})
        if asked > options.max_length:
            raise OptionsError(
                f"force_words and prefix ask for {asked} words, "
                f"but max_length is {options.max_length}"
            )

    def check_found(self, found: list[list[Hypothesis]], options: DecodingOptions) -> None:
        """Raises OptionsError if an image has no hypothesis."""
        if not all(found):
            raise OptionsError(
                f"No sentence of {options.min_length} to {options.max_length} words keeps to "
                f"the options: {len(self.bad_words)} words are forbidden, "
                f"no_repeat_ngram is {options.no_repeat_ngram}, "
                f"and the prefix has {len(self.prefix)} words"
            )

    @property
    def needed(self) -> tuple[int, ...]:
        """The force words, each once."""
        return tuple(sorted({*self.force_words}))

    def lacking(self, words: Int[np.ndarray, "*X T"]) -> Bool[np.ndarray, "*X W"]:
        """Which of the force words are not there yet."""
        needed = np.array(self.needed, np.int64)
        return np.asarray((words[..., None] != needed).all(axis=-2))

    def forbid(
        self,
        log_probs: Float[np.ndarray, "X V"],
        words: Int[np.ndarray, "X T"],
        options: DecodingOptions,
    ) -> None:
        """Set forbidden next words to minus infinity, in place."""
        step = words.shape[1]
        log_probs[:, [Vocabulary.BOS, Vocabulary.UNK, *self.bad_words]] = -np.inf
        if step < options.min_length:
            log_probs[:, Vocabulary.EOS] = -np.inf
        if options.no_repeat_ngram:
            _forbid_repeats(log_probs, words, options.no_repeat_ngram)
        if self.force_words:
            self._leave_room(log_probs, words, options.max_length - step)
        if step == options.max_length:
            _forbid_all_but(log_probs, Vocabulary.EOS)
        elif step < len(self.prefix):
            _forbid_all_but(log_probs, self.prefix[step])

    def _leave_room(
        self, log_probs: Float[np.ndarray, "X V"], words: Int[np.ndarray, "X T"], room: int
    ) -> None:
        """No `<eos>` while words are lacking, and only these when there is `room` for no more."""
        lacking = self.lacking(words)
        log_probs[lacking.any(axis=1), Vocabulary.EOS] = -np.inf
        last = lacking.any(axis=1) & (lacking.sum(axis=1) >= room)
        others = np.ones(log_probs.shape, bool)
        others[:, list(self.needed)] = ~lacking
        log_probs[last[:, None] & others] = -np.inf


def _forbid_all_but(log_probs: Float[np.ndarray, "X V"], word: int) -> None:
    kept = log_probs[:, word].copy()
    log_probs[:] = -np.inf
    log_probs[:, word] = kept


def _forbid_repeats(
    log_probs: Float[np.ndarray, "X V"], words: Int[np.ndarray, "X T"], n: int
) -> None:
    """Forbid words that would repeat an n-gram."""
    length = words.shape[1]
    if length < n:
        return
    starts = length - n + 1
    same = np.ones((len(words), starts), bool)
    for place in range(n - 1):
        begun = words[:, starts + place, None]
        same &= words[:, place : place + starts] == begun
    rows, places = np.nonzero(same)
    log_probs[rows, words[rows, places + n - 1]] = -np.inf


def _words(option: str, texts: Sequence[str]) -> Iterator[str]:
    """The texts as words of captions."""
    for text in texts:
        words = tokenize(text)
        if len(words) != 1:
            raise OptionsError(f"{option}: {text!r:.60} is not one word; give each word by itself")
        yield words[0]


def _unknown(word: str, vocabulary: Vocabulary) -> str:
    known = vocabulary.words[len(SPECIAL_TOKENS) :]
    nearest = difflib.get_close_matches(word, known, 1, cutoff=0)
    hint = f"; the nearest that it knows is {nearest[0]!r:.60}" if nearest else ""
    return f"the model does not know the word {word!r:.60}{hint}"
