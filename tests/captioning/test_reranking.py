import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.captioning.hypotheses import Hypothesis
from mrnn.captioning.reranking import (
    DECIMALS,
    TERMS,
    best_first,
    predicted_cider,
    reranking_scores,
    similarity,
)
from mrnn.model.config import RerankingOptions

PHOTOS = [
    [Hypothesis((3, 4), (-1.0, -0.5, -0.25), -0.75), Hypothesis((5,), (-2.0, -1.0), -1.5)],
    [],
    [Hypothesis((3, 6, 4), (-0.5,) * 4, -1.0)],
]
SENTENCES = [[list(each.words) for each in found] for found in PHOTOS]
LIKELIHOODS = [np.array([each.score for each in found]) for found in PHOTOS]


@pytest.fixture
def features():
    return np.random.default_rng(4).normal(size=(3, 7)).astype(np.float32)


def scores(heads, features, likelihood_weight=1.0, **weights):
    return reranking_scores(
        heads, PHOTOS, features, RerankingOptions(**weights), likelihood_weight=likelihood_weight
    )


def equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_each_weight_has_a_term_and_each_term_a_weight():
    assert list(TERMS) == list(RerankingOptions.model_fields)


def test_terms_are_what_the_heads_say(heads, features):
    embedded = heads.embed_image(features)
    for place, term in enumerate(similarity(heads, SENTENCES, features)):
        expected = heads.embed_text(SENTENCES[place]) @ embedded[place]
        np.testing.assert_allclose(term, expected, atol=1e-6)
    expected = heads.cider_predictor.score(SENTENCES, features)
    equal(predicted_cider(heads, SENTENCES, features), expected)


def test_without_weights_the_score_is_that_of_the_search(heads, features):
    equal(scores(heads, features), LIKELIHOODS)
    equal(scores(heads, features, likelihood_weight=0.25), [each / 4 for each in LIKELIHOODS])
    equal(scores(heads, features, likelihood_weight=0.0), [0 * each for each in LIKELIHOODS])


@pytest.mark.parametrize("likelihood_weight", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("weights", [(3.0, 0.0), (0.0, 0.7), (3.0, 0.7)])
def test_the_score_is_a_weighted_sum_of_rounded_terms(heads, features, weights, likelihood_weight):
    found = scores(
        heads, features, likelihood_weight,
        similarity_weight=weights[0], predicted_cider_weight=weights[1],
    )  # fmt: skip
    parts = zip(
        LIKELIHOODS,
        similarity(heads, SENTENCES, features),
        predicted_cider(heads, SENTENCES, features),
        strict=True,
    )
    equal(found, [
        likelihood_weight * nats + weights[0] * near.round(4) + weights[1] * cider.round(4)
        for nats, near, cider in parts
    ])  # fmt: skip


def test_terms_keep_four_decimals(heads, features, monkeypatch):
    def term(heads, sentences, features):
        return [np.array([0.12345, 0.12344]), np.array([]), np.array([-0.00004])]

    assert DECIMALS == 4
    monkeypatch.setitem(TERMS, "similarity_weight", term)
    found = scores(heads, features, likelihood_weight=0.0, similarity_weight=1000)
    equal(found, [[123.4, 123.4], [], [0]])


def test_a_term_without_weight_is_not_worked_out(heads, features, monkeypatch):
    for name in TERMS:
        monkeypatch.setitem(TERMS, name, None)
    equal(scores(heads, features), LIKELIHOODS)


def test_no_photos(heads):
    options = RerankingOptions(similarity_weight=1, predicted_cider_weight=1)
    assert reranking_scores(heads, [], np.empty((0, 7), np.float32), options) == []


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 0.5000001]), max_size=8))
def test_the_best_is_first_and_equals_keep_their_order(values):
    hypotheses = [Hypothesis((place,), (), 0.0) for place in range(len(values))]
    found = [each.words[0] for each in best_first(hypotheses, np.array(values))]
    assert found == sorted(range(len(values)), key=lambda place: (-values[place], place))
