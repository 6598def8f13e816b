import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.sentence_similarity import Corpus

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]

sentences = st.lists(st.lists(st.sampled_from("abc"), max_size=8), max_size=3)
corpora = st.lists(sentences, max_size=3)


def plain_cider(words, other, frequencies):
    return cider_d([words], [[other]], frequencies)[0]


def plain_bleu(words, other, _):
    """As one would write it down: F of clipped precision and recall, averaged over n."""
    if min(len(words), len(other)) < 4:
        return 0.0
    total = 0.0
    for n in (1, 2, 3, 4):
        ours, theirs = (
            Counter(tuple(each[i : i + n]) for i in range(len(each) - n + 1))
            for each in (words, other)
        )
        right = sum(min(count, theirs[ngram]) for ngram, count in ours.items())
        if right:
            precision, recall = right / sum(ours.values()), right / sum(theirs.values())
            total += 2 * precision * recall / (precision + recall) / 4
    return total


PLAIN = {"cider": plain_cider, "bleu": plain_bleu}


def agrees(own, corpus, measure):
    """Each image's sentences against those of all images, and of the first and last."""
    frequencies = DocumentFrequencies.of(corpus)
    fast = Corpus(corpus)
    images = [range(len(corpus)), [0, len(corpus) - 1] if corpus else []]
    rows = [fast.rows_of(some) for some in images]
    found = list(fast.compare([own] * 2, rows, measure))
    assert len(found) == 2
    for some, matrix in zip(images, found, strict=True):
        others = [words for i in some for words in corpus[i]]
        expected = [[PLAIN[measure](ours, o, frequencies) for o in others] for ours in own]
        expected = np.reshape(expected, (len(own), len(others)))
        np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("measure", PLAIN)
@settings(max_examples=40)
@given(own=sentences, corpus=corpora)
def test_equals_the_plain_way_a_pair_at_a_time(measure, own, corpus):
    agrees(own, corpus, measure)


@pytest.mark.parametrize("measure", PLAIN)
def test_equals_the_plain_way_on_real_captions(measure):
    agrees(HYPOTHESES[:4], REFERENCES[:10], measure)
    agrees([*REFERENCES[0], []], REFERENCES[1:6], measure)  # unknown words, and none


def test_its_mean_is_the_reference_scorers_cider():
    corpus = Corpus(REFERENCES)
    rows = [corpus.rows_of([image]) for image in range(len(REFERENCES))]
    found = corpus.compare([[words] for words in HYPOTHESES], rows)
    means = [matrix.mean() for matrix in found]
    np.testing.assert_allclose(means, GOLDEN["cider_d"], rtol=0, atol=1e-9)


def test_without_weights_all_ngrams_count_alike():
    corpus = Corpus([[["a", "b"], ["a", "c"]]], weighted=False)
    (matrix,) = corpus.compare([[["a", "b"]]], [corpus.rows_of([0])])
    # One word in two and no pair of two: cosines 1/2 and 0 of four.
    np.testing.assert_allclose(matrix, [[5, 10 * (1 / 2) / 4]])
    (weighted,) = Corpus([[["a", "b"]]]).compare([[["a", "b"]]], [np.array([0])])
    assert weighted.tolist() == [[0]]  # all that occurs occurs in every image


def test_sentences_of_an_image_that_has_none():
    corpus = Corpus([[], [["a"]], []])
    assert corpus.rows_of([0, 2]).tolist() == []
    assert corpus.rows_of([2, 1, 1]).tolist() == [0, 0]
    assert next(corpus.compare([[["a"]]], [corpus.rows_of([0])])).shape == (1, 0)
