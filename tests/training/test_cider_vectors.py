"""CIDEr vectors of a train split, and the n-grams that they are of."""

import pytest

from mrnn.errors import DataError
from mrnn.tokenizer import Vocabulary
from mrnn.training.cider_vectors import CiderVectors, document_frequencies

DOG, CAT, RUNS, HERE, GRASS = range(4, 9)
OWN = [[[DOG, RUNS], [DOG, HERE]], [[DOG, HERE]], [[CAT, RUNS]], [[CAT, HERE], [CAT]]]


def test_the_ngrams_are_the_commonest_of_the_split():
    """Of equally common ones the first by their words."""
    kept = [(HERE,), (DOG,), (DOG, HERE), (CAT,), (RUNS,)]
    assert CiderVectors(OWN, 5).ngrams == kept
    assert CiderVectors(OWN, 3).ngrams == kept[:3]


def test_with_text_the_commonest_in_both_as_fractions_of_their_photos():
    """So a large text does not outvote the split, and what only it says cannot be predicted."""
    text = [[[CAT, GRASS]]] * 90 + [[[RUNS]]] * 10
    assert CiderVectors(OWN, 3, text).ngrams == [(CAT,), (HERE,), (RUNS,)]
    assert all(GRASS not in ngram for ngram in CiderVectors(OWN, 99, text).ngrams)


def test_an_idf_is_that_of_the_split():
    with_text = CiderVectors(OWN, 3, [[[CAT]]] * 5)
    for ngram in with_text.ngrams:
        assert with_text.idf(ngram) == CiderVectors(OWN, 3).idf(ngram)


def test_a_photo_counts_once_for_each_ngram():
    counts = document_frequencies(OWN)
    assert counts[(DOG,)] == counts[(CAT,)] == 2
    assert counts[(DOG, HERE)] == 2
    assert document_frequencies(OWN, {(DOG,), (GRASS,)}) == {(DOG,): 2}


def test_a_split_without_a_known_word_is_refused():
    with pytest.raises(DataError, match="No train caption has a word of the vocabulary"):
        CiderVectors([[[Vocabulary.UNK]]], 3, [[[DOG]]])
