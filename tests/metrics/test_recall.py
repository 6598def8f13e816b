import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import DataError
from mrnn.metrics.recall import (
    folds,
    image_to_sentence_ranks,
    mean_scores,
    recall_scores,
    recall_scores_of_sets,
    sentence_to_image_ranks,
)


def naive_rank(scores, truths):
    """Sort by falling score, then by index; the place, from 1, of the first ground truth."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return 1 + min(order.index(truth) for truth in truths)


@st.composite
def rankings(draw):
    """Scores with many ties, and one to four sentences an image in any order."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    image_of = draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist()))
    shape = (len(image_of), len(counts))
    values = st.lists(
        st.integers(-2, 2), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    )
    return np.array(draw(values), dtype=np.float32).reshape(shape), np.array(image_of)


@given(rankings())
def test_ranks_are_those_of_sorting(ranking):
    scores, image_of = ranking
    assert image_to_sentence_ranks(scores, image_of).tolist() == [
        naive_rank(scores[:, image], np.flatnonzero(image_of == image))
        for image in range(scores.shape[1])
    ]
    assert sentence_to_image_ranks(scores, image_of).tolist() == [
        naive_rank(row, [image]) for row, image in zip(scores, image_of, strict=True)
    ]


def test_equal_scores_are_ordered_by_index():
    scores, image_of = np.zeros((4, 2), np.float32), np.array([1, 0, 1, 0])
    assert image_to_sentence_ranks(scores, image_of).tolist() == [2, 1]
    assert sentence_to_image_ranks(scores, image_of).tolist() == [2, 1, 2, 1]


def test_impossible_sentences_may_have_no_likelihood_at_all():
    scores = np.array([[-np.inf, -1.0], [-np.inf, -np.inf]], dtype=np.float32)
    assert image_to_sentence_ranks(scores, np.array([1, 0])).tolist() == [2, 1]


def test_figures_by_hand():
    found = recall_scores(np.array([1, 2, 5, 6, 10, 11, 40, 1]))
    assert found.model_dump() == {
        "r@1": 25.0, "r@5": 50.0, "r@10": 75.0, "median_rank": 5.5, "mean_rank": 9.5
    }  # fmt: skip


def test_five_folds_of_a_thousand():
    image_of = np.repeat(np.arange(5_000), 5)
    found = list(folds(image_of, 5_000, 5))
    assert [images for _, images in found] == [slice(k, k + 1000) for k in range(0, 5000, 1000)]
    for k, (sentences, _) in enumerate(found):
        assert sentences.tolist() == list(range(5000 * k, 5000 * (k + 1)))
    left_out = [images for _, images in folds(image_of, 11, 2)]
    assert left_out == [slice(0, 5), slice(5, 10)]


def test_the_mean_over_folds():
    parts = [recall_scores(np.array([1, 3])), recall_scores(np.array([7, 20]))]
    assert mean_scores(parts).model_dump() == {
        "r@1": 25.0, "r@5": 50.0, "r@10": 75.0, "median_rank": 7.75, "mean_rank": 7.75
    }  # fmt: skip


def test_what_cannot_be_ranked():
    scores = np.zeros((2, 2), np.float32)
    with pytest.raises(DataError, match=r"^Image 1 has no sentence, so no rank; leave it out$"):
        image_to_sentence_ranks(scores, np.array([0, 0]))
    with pytest.raises(DataError, match=r"^A sentence is of image 2, but there are 2 images$"):
        sentence_to_image_ranks(scores, np.array([0, 2]))
    scores[1, 0] = np.nan
    with pytest.raises(DataError, match=r"^The score of sentence 1 with image 0 is not a number$"):
        sentence_to_image_ranks(scores, np.array([0, 1]))
    with pytest.raises(DataError, match=r"^There are no queries to rank for$"):
        recall_scores(np.array([], dtype=int))
    with pytest.raises(DataError, match=r"^3 images make 1 to 3 folds, not 4$"):
        next(folds(np.array([0, 1, 2]), 3, 4))


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=4, max_size=12),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
def test_a_set_of_images_has_the_figures_of_its_queries_repeated(queries, weights):
    ranks, image_of = np.array(queries).T
    repeated = np.repeat(ranks, np.array(weights)[image_of])
    found = recall_scores_of_sets(ranks, image_of, np.array([weights, weights], dtype=float))
    expected = list(recall_scores(repeated).model_dump(by_alias=False).values())
    assert found.tolist() == [pytest.approx(expected)] * 2
