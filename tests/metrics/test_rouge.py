import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import DataError
from mrnn.metrics.rouge import longest_common, rouge_l

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]

sentences = st.lists(st.sampled_from("abcd"), max_size=8)


def test_equals_the_reference_scorer():
    scores = rouge_l(HYPOTHESES, REFERENCES)
    np.testing.assert_allclose(scores, GOLDEN["rouge_l"], rtol=0, atol=1e-9)
    assert scores.mean() == pytest.approx(GOLDEN["corpus_rouge_l"], rel=0, abs=1e-9)


def by_table(a, b):
    """The longest common subsequence as textbooks have it."""
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            longer = max(table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else longer
    return int(table[-1, -1])


@given(sentences, st.lists(sentences, max_size=3))
def test_longest_common_equals_the_table(words, others):
    assert longest_common(words, others) == [by_table(words, other) for other in others]


def test_longest_common_of_long_sentences():
    words = [f"w{i % 7}" for i in range(200)]
    other = [f"w{i % 5}" for i in range(150)]
    assert longest_common(words, [other]) == [by_table(words, other)]


def test_precision_and_recall_may_come_from_different_references():
    (score,) = rouge_l([["a", "b"]], [[["a", "b", "c", "d"], ["a"]]])
    assert score == pytest.approx(1)


def test_refuses_what_does_not_belong_together():
    with pytest.raises(DataError, match=r"^1 hypotheses for the references of 2 images; expected"):
        rouge_l([["a"]], [[["a"]], [["b"]]])
    with pytest.raises(DataError, match=r"^Image 0 has no references; expected at least one$"):
        rouge_l([["a"]], [[]])
