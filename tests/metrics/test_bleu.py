import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import DataError
from mrnn.metrics.bleu import bleu, corpus_bleu, match_counts

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]

sentences = st.lists(st.sampled_from("abcd"), max_size=8)
images = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4))


def test_corpus_bleu_equals_the_reference_scorer():
    scores = corpus_bleu(HYPOTHESES, REFERENCES)
    np.testing.assert_allclose(scores, GOLDEN["corpus_bleu"], rtol=0, atol=1e-9)


def test_sentence_bleu_equals_the_reference_scorer():
    scores = bleu(match_counts(HYPOTHESES, REFERENCES))
    np.testing.assert_allclose(scores, GOLDEN["sentence_bleu"], rtol=0, atol=1e-9)


def test_counts_of_one_image():
    counts = match_counts([["a", "a", "dog", "runs"]], [[["a", "dog"], ["a", "dog", "runs"] * 2]])
    #                      right       all         words, nearest length
    assert counts.tolist() == [[4, 2, 1, 0, 4, 3, 2, 1, 4, 2]]


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=4, max_size=9), min_size=1))
def test_a_caption_equal_to_a_reference_scores_one(captions):
    scores = corpus_bleu(captions, [[["x"] * 4, caption] for caption in captions])
    np.testing.assert_allclose(scores, 1, atol=1e-8)


@given(st.lists(images, min_size=1))
def test_the_corpus_is_the_sum_of_its_images(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    rows = [match_counts([h], [r])[0] for h, r in pairs]
    scores = corpus_bleu(hypotheses, references)
    np.testing.assert_array_equal(scores, bleu(np.sum(rows, axis=0)))
    assert all(0 <= score <= 1 for score in scores)


def test_an_empty_caption_scores_zero():
    assert corpus_bleu([[]], [[["a", "dog"]]]) == (0, 0, 0, 0)


@pytest.mark.parametrize("score", [corpus_bleu, match_counts])
def test_refuses_what_does_not_belong_together(score):
    with pytest.raises(DataError, match=r"^2 hypotheses for the references of 1 images; expected"):
        score([["a"], ["b"]], [[["a"]]])
    with pytest.raises(DataError, match=r"^Image 1 has no references; expected at least one$"):
        score([["a"], ["b"]], [[["a"]], []])
