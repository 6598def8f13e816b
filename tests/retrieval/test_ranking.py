import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import mrnn.retrieval.ranking as ranking
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.retrieval.ranking import (
    best_candidates,
    first_by_score,
    rank_exactly,
    rank_fast,
)


@pytest.fixture
def split(checkpoint):
    random = np.random.default_rng(2)
    sentences = [random.integers(3, 10, size=length).tolist() for length in (1, 3, 4, 6, 2, 5)]
    return sentences, random.normal(size=(4, 7)).astype(np.float32)


def test_exact_ranking_is_the_papers(ranker, split):
    sentences, images = split
    scores = log_likelihoods(ranker.checkpoint.model, sentences, images)
    sampled = log_likelihoods(ranker.checkpoint.model, sentences, ranker.sampled)
    marginals = log_marginals(sampled)
    rankings = rank_exactly(ranker.checkpoint.model, sentences, images, marginals)
    assert (rankings.sentence_to_image == scores).all()
    assert (rankings.image_to_sentence_without_marginal == scores).all()
    assert rankings.image_to_sentence == pytest.approx(scores - marginals[:, None])


def marginals_of(ranker, sentences):
    """Over all sampled images."""
    model = ranker.checkpoint.model
    return log_marginals(log_likelihoods(model, sentences, ranker.sampled))


def test_near_marginals_are_those_of_the_nearest_photos(ranker, split):
    scores = log_likelihoods(ranker.checkpoint.model, split[0], ranker.sampled)
    nearest = best_candidates(ranker.read(split[0]) @ ranker.see(ranker.sampled).T, 2)
    expected = log_marginals(np.where(nearest, scores, -np.inf).astype(np.float32))
    assert ranker.near_marginals(split[0], 2) == pytest.approx(expected, abs=1e-5)
    whole = marginals_of(ranker, split[0])
    assert (ranker.near_marginals(split[0], 2) < whole).all()
    assert ranker.near_marginals(split[0], 5) == pytest.approx(whole, abs=1e-5)


def test_a_sentence_near_all_photos_is_common(ranker):
    towards = ranker.see(ranker.sampled).mean(axis=0)
    common, rare = ranker.commonness(np.stack([towards, -towards]))
    assert common > 0 > rare


def test_likeness_is_the_cosine_of_a_photo_and_its_own_sentences(ranker, split):
    sentences, images = split
    own = [sentences[:2], [], sentences[2:5], sentences[5:]]
    found = ranker.likeness(own, images)
    whole = ranker.read(sentences) @ ranker.see(images).T
    assert [len(each) for each in found] == [2, 0, 3, 1]
    np.testing.assert_allclose(found[0], whole[:2, 0], atol=1e-6)
    np.testing.assert_allclose(found[2], whole[2:5, 2], atol=1e-6)
    np.testing.assert_allclose(found[3], whole[5:, 3], atol=1e-6)


def test_with_all_as_candidates_both_scores_count_everywhere(ranker, split):
    sentences, images = split
    marginals = marginals_of(ranker, sentences)
    found = rank_fast(ranker, sentences, images, marginals, candidates=99)
    likeness = ranker.read(sentences) @ ranker.see(images).T
    scores = log_likelihoods(ranker.checkpoint.model, sentences, images)
    plain = 3 * likeness + scores
    assert found.sentence_to_image == pytest.approx(2 * likeness + scores, abs=1e-5)
    assert found.image_to_sentence_without_marginal == pytest.approx(plain, abs=1e-5)
    shift = marginals + 3 * ranker.commonness(ranker.read(sentences))
    assert found.image_to_sentence == pytest.approx(plain - shift[:, None], abs=1e-4)


def test_likelihoods_are_worked_out_for_candidates_alone(ranker, split):
    sentences, images = split
    marginals, counts = marginals_of(ranker, sentences), []
    found = rank_fast(ranker, sentences, images, marginals, on_pairs=counts.append, candidates=1)
    likeness = ranker.read(sentences) @ ranker.see(images).T
    assert sum(counts) <= len(sentences) + len(images) < likeness.size
    order = np.argsort(-likeness, axis=1)
    assert (np.argsort(-found.sentence_to_image, axis=1) == order).all()


def test_the_chosen_come_first_and_the_others_by_likeness():
    likeness = np.array([[0.9, 0.5, 0.8, 0.5, -0.2]], dtype=np.float32)
    chosen = best_candidates(likeness, 2)
    assert chosen.tolist() == [[True, False, True, False, False]]
    scores = np.array([[-70.0, -np.inf, -30.0, -np.inf, -np.inf]], dtype=np.float32)
    order = np.argsort(-first_by_score(chosen, scores, likeness), axis=1, kind="stable")
    assert order.tolist() == [[2, 0, 1, 3, 4]]
    assert best_candidates(np.zeros((1, 3)), 2).tolist() == [[True, True, False]]


def plain_best(likeness, count):
    """By sorting everything."""
    places = np.argsort(np.argsort(-likeness, axis=1, kind="stable"), axis=1)
    return places < count


def plain_first(chosen, scores, likeness):
    least = np.where(chosen, scores, np.inf).min(axis=1, keepdims=True)
    return np.where(chosen, scores, least - 3 + likeness)


@given(
    likeness=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9),
                    elements=st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0])),
    count=st.integers(1, 10),
    at_once=st.integers(1, 40),
)  # fmt: skip
def test_the_best_are_those_of_a_stable_sort(likeness, count, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
        assert (best_candidates(likeness, count) == plain_best(likeness, count)).all()


@pytest.mark.parametrize("at_once", [1, 13, 2_000_000])
def test_ranking_in_parts_is_ranking_at_once(ranker, at_once, monkeypatch):
    """Bit for bit, with many equal likenesses."""
    random = np.random.default_rng(3)
    sentences = [[int(word)] for word in random.integers(3, 6, 30)]
    images = random.integers(0, 2, (20, 7)).astype(np.float32)[random.integers(0, 6, 20)]
    marginals = marginals_of(ranker, sentences)
    vectors = ranker.read(sentences)
    likeness = vectors @ ranker.see(images).T
    distinct = (likeness - ranker.commonness(vectors)[:, None]).T
    assert len(np.unique(likeness)) < likeness.size / 10
    for_sentence, for_image = plain_best(likeness, 4), plain_best(distinct, 4)
    scores = log_likelihoods(
        ranker.checkpoint.model, sentences, images, wanted=for_sentence | for_image.T
    )
    monkeypatch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
    found = rank_fast(ranker, sentences, images, marginals, candidates=4)
    both, plain = 3 * distinct + scores.T - marginals, 3 * likeness.T + scores.T
    expected = [
        plain_first(for_sentence, 2 * likeness + scores, likeness),
        plain_first(for_image, both, distinct).T,
        plain_first(for_image, plain, likeness.T).T,
    ]
    for one, other in zip(vars(found).values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_many_photos_are_seen_as_few(ranker, split, monkeypatch):
    expected = ranker.see(split[1])
    monkeypatch.setattr(ranking, "IMAGES_AT_ONCE", 3)
    np.testing.assert_allclose(ranker.see(split[1]), expected, atol=1e-6)
