import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from mrnn.tokenizer import Vocabulary
from tests.captioning.table_model import BOS, EOS, UNK, TableModel

VOCABULARY = Vocabulary(["a", "dog", "runs", "man", "'s", "hat"])


def allowed(words, options=None, constraints=None, vocabulary=7):
    """Which words may come after the words of one hypothesis."""
    log_probs = np.zeros((1, vocabulary))
    constraints = constraints or Constraints()
    words = np.array([words], dtype=np.int64)
    constraints.forbid(log_probs, words, options or DecodingOptions())
    assert {*log_probs[0].tolist()} <= {0, -math.inf}
    return {word for word, value in enumerate(log_probs[0].tolist()) if value == 0}


def test_without_options_all_words_but_special_tokens():
    assert allowed([]) == {3, 4, 5, 6}
    assert allowed([3, 4]) == {EOS, 3, 4, 5, 6}


def test_length():
    options = DecodingOptions(min_length=2, max_length=3)
    assert EOS not in allowed([3], options)
    assert EOS in allowed([3, 4], options)
    assert allowed([3, 4, 5], options) == {EOS}


def test_prefix_and_bad_words():
    constraints = Constraints(bad_words=(4,), prefix=(5, 3))
    assert allowed([], constraints=constraints) == {5}
    assert allowed([5], constraints=constraints) == {3}
    assert allowed([5, 3], constraints=constraints) == {EOS, 3, 5, 6}


def test_force_words_hold_off_the_end_and_keep_room():
    options, constraints = DecodingOptions(max_length=4), Constraints(force_words=(5, 6, 5))
    assert allowed([3], options, constraints) == {3, 4, 5, 6}
    assert allowed([3, 3], options, constraints) == {5, 6}
    assert allowed([3, 3, 6], options, constraints) == {5}
    assert allowed([6, 5], options, constraints) == {EOS, 3, 4, 5, 6}


@given(st.lists(st.integers(3, 6), max_size=9), st.integers(1, 4))
def test_no_run_comes_twice(words, n):
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    repeats = {w for w in range(3, 7) if (*words, w)[-n:] in runs}
    options = DecodingOptions(no_repeat_ngram=n, max_length=30)
    assert allowed(words, options) == {3, 4, 5, 6} - repeats | ({EOS} if words else set())


def test_words_become_ids_as_captions_do():
    options = DecodingOptions(force_words=("Dog", "'s"), bad_words=("RUNS.",), prefix="A man's ")
    assert Constraints.of(options, VOCABULARY) == Constraints((4, 7), (5,), (3, 6, 7))
    assert Constraints.of(DecodingOptions(), VOCABULARY) == Constraints()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"force_words": ("dogs",)},
            "force_words: the model does not know the word 'dogs'; the nearest that it knows is "
            "'dog'",
        ),
        (
            {"bad_words": ("hut",)},
            "bad_words: the model does not know the word 'hut'; the nearest that it knows is 'hat'",
        ),
        (
            {"prefix": "A runny dog"},
            "prefix: the model does not know the word 'runny'; the nearest that it knows is 'runs'",
        ),
        (
            {"force_words": ("<unk>",)},
            "force_words: the model does not know the word '<unk>'; the nearest that it knows is ",
        ),
        (
            {"force_words": ("a dog",)},
            "force_words: 'a dog' is not one word; give each word by itself",
        ),
        ({"bad_words": (".",)}, "bad_words: '.' is not one word; give each word by itself"),
        (
            {"force_words": ("dog",), "bad_words": ("Dog",)},
            "'dog' is in bad_words and in force_words too",
        ),
        ({"prefix": "a dog", "bad_words": ("dog",)}, "'dog' is in bad_words and in prefix too"),
    ],
)
def test_words_that_are_refused(options, message):
    with pytest.raises(OptionsError) as error:
        Constraints.of(DecodingOptions(**options), VOCABULARY)
    assert str(error.value).startswith(message)


def test_a_vocabulary_without_words_has_no_nearest():
    with pytest.raises(
        OptionsError, match=r"^force_words: the model does not know the word 'dog'$"
    ):
        Constraints.of(DecodingOptions(force_words=("dog",)), Vocabulary([]))


def test_more_words_than_fit_are_refused():
    options = DecodingOptions(max_length=3)
    seen, model = np.zeros((1, 7)), TableModel(7)
    message = "^force_words and prefix ask for 4 words, but max_length is 3$"
    with pytest.raises(OptionsError, match=message):
        decode(model, seen, options, Constraints(force_words=(3, 4), prefix=(5, 6)))
    with pytest.raises(OptionsError, match=message):
        decode(model, seen, options, Constraints(force_words=(3, 4, 5, 6, 6)))
    ((found,),) = decode(model, seen, options, Constraints(force_words=(3, 4), prefix=(4, 6)))
    assert found.words == (4, 6, 3)


def test_what_leaves_no_sentence_is_refused():
    seen, model = np.zeros((2, 7)), TableModel(7)
    for options, constraints in (
        ({}, Constraints(bad_words=(3, 4, 5, 6))),
        ({}, Constraints(force_words=(3,), bad_words=(3,))),
        ({"no_repeat_ngram": 1}, Constraints(prefix=(3, 3))),
        ({"no_repeat_ngram": 1, "min_length": 5}, Constraints()),
    ):
        for temperature in (0, 1):
            asked = DecodingOptions(temperature=temperature, **options)
            with pytest.raises(OptionsError, match=r"^No sentence of \d to 30 words keeps to the "):
                decode(model, seen, asked, constraints)


def test_special_tokens_are_never_said():
    assert not {BOS, UNK} & allowed([3])
