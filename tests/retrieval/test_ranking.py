import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import mrnn.retrieval.ranking as ranking
from mrnn.model.heads import RetrievalWeights
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.retrieval.ranking import (
    best_candidates,
    candidates_first,
    exhaustive_scores,
    near_marginals,
    two_stage_scores,
)

WEIGHTS = RetrievalWeights(sentence_to_image=2, image_to_sentence=3)


@pytest.fixture
def heads(heads):
    return type(heads)(**{**vars(heads), "weights": WEIGHTS})


@pytest.fixture
def network(checkpoint):
    return checkpoint.network


@pytest.fixture
def split():
    random = np.random.default_rng(2)
    sentences = [random.integers(3, 10, size=length).tolist() for length in (1, 3, 4, 6, 2, 5)]
    return sentences, random.normal(size=(4, 7)).astype(np.float32)


def marginals_of(network, heads, sentences):
    """Over all sampled images."""
    return log_marginals(log_likelihoods(network, sentences, heads.sampled_features))


def test_exhaustive_retrieval_is_the_papers(network, heads, split):
    sentences, images = split
    scores = log_likelihoods(network, sentences, images)
    marginals = marginals_of(network, heads, sentences)
    counts = []
    found = exhaustive_scores(network, sentences, images, marginals, counts.append)
    assert (found.sentence_to_image == scores).all()
    assert (found.image_to_sentence_without_marginal == scores).all()
    assert found.image_to_sentence == pytest.approx(scores - marginals[:, None])
    assert sum(counts) == scores.size


def test_near_marginals_are_those_of_the_nearest_photos(network, heads, split):
    sentences, sampled = split[0], heads.sampled_features
    scores = log_likelihoods(network, sentences, sampled)
    nearest = best_candidates(heads.embed_text(sentences) @ heads.embed_image(sampled).T, 2)
    expected = log_marginals(np.where(nearest, scores, -np.inf).astype(np.float32))
    found = near_marginals(network, heads, sentences, 2)
    assert found == pytest.approx(expected, abs=1e-5)
    whole = marginals_of(network, heads, sentences)
    assert (found < whole).all()
    assert near_marginals(network, heads, sentences, 5) == pytest.approx(whole, abs=1e-5)


def test_with_all_as_candidates_both_scores_count_everywhere(network, heads, split):
    sentences, images = split
    marginals = marginals_of(network, heads, sentences)
    found = two_stage_scores(network, heads, sentences, images, marginals, candidates=99)
    vectors = heads.embed_text(sentences)
    similarity = vectors @ heads.embed_image(images).T
    scores = log_likelihoods(network, sentences, images)
    plain = 3 * similarity + scores
    assert found.sentence_to_image == pytest.approx(2 * similarity + scores, abs=1e-5)
    assert found.image_to_sentence_without_marginal == pytest.approx(plain, abs=1e-5)
    shift = marginals + 3 * heads.hubness_correction(vectors)
    assert found.image_to_sentence == pytest.approx(plain - shift[:, None], abs=1e-4)


def test_likelihoods_are_computed_for_candidates_alone(network, heads, split):
    sentences, images = split
    marginals, counts = marginals_of(network, heads, sentences), []
    found = two_stage_scores(
        network, heads, sentences, images, marginals, candidates=1, on_pairs=counts.append
    )
    similarity = heads.embed_text(sentences) @ heads.embed_image(images).T
    assert sum(counts) <= len(sentences) + len(images) < similarity.size
    order = np.argsort(-similarity, axis=1)
    assert (np.argsort(-found.sentence_to_image, axis=1) == order).all()


def test_the_chosen_come_first_and_the_others_by_similarity():
    similarity = np.array([[0.9, 0.5, 0.8, 0.5, -0.2]], dtype=np.float32)
    chosen = best_candidates(similarity, 2)
    assert chosen.tolist() == [[True, False, True, False, False]]
    scores = np.array([[-70.0, -np.inf, -30.0, -np.inf, -np.inf]], dtype=np.float32)
    order = np.argsort(-candidates_first(chosen, scores, similarity), axis=1, kind="stable")
    assert order.tolist() == [[2, 0, 1, 3, 4]]
    assert best_candidates(np.zeros((1, 3)), 2).tolist() == [[True, True, False]]


def plain_best(similarity, count):
    """By sorting everything."""
    places = np.argsort(np.argsort(-similarity, axis=1, kind="stable"), axis=1)
    return places < count


def plain_first(chosen, scores, similarity):
    least = np.where(chosen, scores, np.inf).min(axis=1, keepdims=True)
    return np.where(chosen, scores, least - 3 + similarity)


@given(
    similarity=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9),
                      elements=st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0])),
    count=st.integers(1, 10),
    at_once=st.integers(1, 40),
)  # fmt: skip
def test_the_best_are_those_of_a_stable_sort(similarity, count, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
        assert (best_candidates(similarity, count) == plain_best(similarity, count)).all()


@pytest.mark.parametrize("at_once", [1, 13, 2_000_000])
def test_scores_in_parts_are_scores_at_once(network, heads, at_once, monkeypatch):
    """Bit for bit, with many equal similarities."""
    random = np.random.default_rng(3)
    sentences = [[int(word)] for word in random.integers(3, 6, 30)]
    images = random.integers(0, 2, (20, 7)).astype(np.float32)[random.integers(0, 6, 20)]
    marginals = marginals_of(network, heads, sentences)
    vectors = heads.embed_text(sentences)
    similarity = vectors @ heads.embed_image(images).T
    corrected = (similarity - heads.hubness_correction(vectors)[:, None]).T
    assert len(np.unique(similarity)) < similarity.size / 10
    for_sentence, for_image = plain_best(similarity, 4), plain_best(corrected, 4)
    scores = log_likelihoods(network, sentences, images, wanted=for_sentence | for_image.T)
    monkeypatch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
    found = two_stage_scores(network, heads, sentences, images, marginals, candidates=4)
    both, plain = 3 * corrected + scores.T - marginals, 3 * similarity.T + scores.T
    expected = [
        plain_first(for_sentence, 2 * similarity + scores, similarity),
        plain_first(for_image, both, corrected).T,
        plain_first(for_image, plain, similarity.T).T,
    ]
    for one, other in zip(vars(found).values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
