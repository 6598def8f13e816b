from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.ngrams import ngrams
from mrnn.model.cider_predictor import PADDING, CiderPredictor

FEATURE_SIZE, DIRECTIONS = 5, 3


def predictor_of(kept, seed=0, words=4):
    """Of these n-grams, with random numbers; sentences up to so many words are told apart."""
    random = np.random.default_rng(seed)

    def floats(*shape):
        return random.normal(size=shape).astype(np.float32)

    ids = [[*ngram, *[PADDING] * (4 - len(ngram))] for ngram in kept]
    return CiderPredictor(
        token_ids=np.array(ids, dtype=np.int32).reshape(-1, 4),
        idf=np.abs(floats(len(kept))), max_idf=np.array([2.5], np.float32),
        ngram_weight=floats(len(kept), DIRECTIONS), ngram_bias=floats(len(kept)),
        image_weight=floats(DIRECTIONS, FEATURE_SIZE), feature_mean=floats(FEATURE_SIZE),
        length_penalty=np.abs(floats(words)),
    )  # fmt: skip


def slow_score(predictor, sentence, feature):
    """By dictionaries of n-grams, one sentence and one photo at a time."""
    roots = np.sign(feature) * np.sqrt(np.abs(feature.astype(float)))
    centred = roots / np.linalg.norm(roots) - predictor.feature_mean
    predicted = predictor.ngram_weight @ (predictor.image_weight @ centred) + predictor.ngram_bias
    rows = {
        tuple(word for word in words if word != PADDING): row
        for row, words in enumerate(predictor.token_ids.tolist())
    }
    counts, squares, total = ngrams(sentence), Counter(), 0.0
    for ngram, count in counts.items():
        idf = predictor.idf[rows[ngram]] if ngram in rows else predictor.max_idf[0]
        squares[len(ngram)] += (count * float(idf)) ** 2
    for ngram in counts.keys() & rows.keys():
        if idf := float(predictor.idf[rows[ngram]]):
            total += idf / np.sqrt(squares[len(ngram)]) * predicted[rows[ngram]]
    return total * predictor.length_penalty[min(len(sentence), len(predictor.length_penalty) - 1)]


SENTENCES = st.lists(st.integers(0, 5), max_size=9)


@given(
    kept=st.sets(st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple), min_size=1),
    photos=st.lists(st.lists(SENTENCES, max_size=4), min_size=1, max_size=3),
    seed=st.integers(0, 9),
)
def test_scores_are_those_of_plain_dictionaries(kept, photos, seed):
    """Prefixes that are not kept, words that are in no n-gram, repeats and empty sentences too."""
    predictor = predictor_of(sorted(kept), seed)
    features = np.random.default_rng(seed).normal(size=(len(photos), FEATURE_SIZE))
    features = features.astype(np.float32)
    found = predictor.score(photos, features)
    for own, feature, scores in zip(photos, features, found, strict=True):
        assert scores.dtype == np.float64
        expected = [slow_score(predictor, sentence, feature) for sentence in own]
        np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_many_ngrams_and_sentences_score_as_plain_dictionaries():
    random = np.random.default_rng(3)
    sentences = [random.zipf(1.3, size=random.integers(0, 30)).clip(max=70_000) for _ in range(200)]
    sentences = [sentence.tolist() for sentence in sentences]
    common = Counter(ngram for sentence in sentences[::2] for ngram in ngrams(sentence))
    predictor = predictor_of([ngram for ngram, _ in common.most_common(2000)], words=20)
    features = random.normal(size=(2, FEATURE_SIZE)).astype(np.float32)
    found = predictor.score([sentences, sentences[:10]], features)
    for own, feature, scores in zip([sentences, sentences[:10]], features, found, strict=True):
        expected = [slow_score(predictor, sentence, feature) for sentence in own]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.std(found[0]) > 0.1


def test_ids_of_words_may_be_large():
    word = 2**31 - 1
    predictor = predictor_of([(word, word, word, word - 1)])
    feature = np.ones((1, FEATURE_SIZE), np.float32)
    sentences = [[word, word, word, word - 1], [word, word, word, word]]
    one, other = predictor.score([sentences], feature)[0]
    assert one == pytest.approx(slow_score(predictor, sentences[0], feature[0]), abs=1e-5)
    assert one != 0 == other


def test_an_ngram_of_all_images_weighs_nothing():
    predictor = predictor_of([(3,), (4,)])
    predictor = replace(predictor, idf=np.array([0, 1], np.float32))
    scores = predictor.score([[[3], [3, 4], [4]]], np.ones((1, FEATURE_SIZE), np.float32))[0]
    assert scores[0] == 0
    assert scores[1] != 0 != scores[2]


def test_a_photo_with_the_mean_feature_gets_the_mean_cider_d():
    """Exactly, where all captions have one length and say nothing twice."""
    random = np.random.default_rng(1)
    references = [[random.permutation(9)[:5].tolist() for _ in range(3)] for _ in range(12)]
    spread = Counter(n for own in references for n in {n for each in own for n in ngrams(each)})
    idf = {ngram: np.log(12 / count) for ngram, count in spread.items()}

    def vector(sentence):
        found = {ngram: count * idf[ngram] for ngram, count in ngrams(sentence).items()}
        lengths = {n: sum(found[g] ** 2 for g in found if len(g) == n) ** 0.5 for n in range(1, 5)}
        return np.array([found.get(ngram, 0) / lengths[len(ngram)] for ngram in spread])

    mean = np.mean([vector(sentence) for own in references for sentence in own], axis=0)
    predictor = replace(
        predictor_of(list(spread)),
        idf=np.array(list(idf.values()), np.float32), ngram_bias=(2.5 * mean).astype(np.float32),
        max_idf=np.log([12.0]).astype(np.float32), length_penalty=np.exp(
            -((np.arange(20) - 5) ** 2) / 72).astype(np.float32),
        image_weight=np.zeros((DIRECTIONS, FEATURE_SIZE), np.float32),
    )  # fmt: skip
    spoken = [[[str(word) for word in sentence] for sentence in own] for own in references]
    frequencies = DocumentFrequencies.of(spoken)
    for sentence in ([0, 1, 2], [3, 4], [5, 6, 7, 8, 0]):
        each = cider_d([[str(word) for word in sentence]] * 12, spoken, frequencies)
        found = predictor.score([[sentence]], np.ones((1, FEATURE_SIZE), np.float32))[0][0]
        assert found == pytest.approx(each.mean(), abs=1e-5)
        assert found > 0.05


def test_scores_do_not_depend_on_other_photos():
    predictor, random = predictor_of([(1,), (1, 2), (2, 1)]), np.random.default_rng(4)
    features = random.normal(size=(4, FEATURE_SIZE)).astype(np.float32)
    own = [random.integers(0, 4, (i + 1, 6)).tolist() for i in range(4)]
    for i, together in enumerate(predictor.score(own, features)):
        assert (predictor.score([own[i]], features[i : i + 1])[0] == together).all()


def test_no_photos_and_no_sentences_have_no_scores():
    predictor = predictor_of([(1,)])
    assert predictor.score([], np.zeros((0, FEATURE_SIZE), np.float32)) == []
    assert predictor.score([[]], np.ones((1, FEATURE_SIZE), np.float32))[0].shape == (0,)
