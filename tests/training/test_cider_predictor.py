from collections import Counter

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mrnn.errors import DataError
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.ngrams import ngrams
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training import cider_predictor
from mrnn.training.cider_predictor import fit_cider_predictor
from mrnn.training.recipe import CiderPredictorOptions

WORDS = ("a", "dog", "cat", "runs", "sits", "on", "grass", "snow", "the")
ALL = CiderPredictorOptions(ngrams=10_000, directions=10_000, penalty=0.1)


@pytest.fixture(scope="module")
def world():
    """Features, captions as words (none to three a photo) and the same as token ids."""
    random = np.random.default_rng(0)
    features = random.normal(size=(12, 5)).astype(np.float32)
    words = [
        [random.choice(WORDS, random.integers(1, 7)).tolist() for _ in range(i % 4)]
        for i in range(12)
    ]
    vocabulary = Vocabulary(WORDS)
    return vocabulary, features, words, EncodedCaptions.of(words, vocabulary)


def encoded(vocabulary, sentences):
    return [vocabulary.encode(sentence) for sentence in sentences]


SENTENCES = (
    ["a", "dog", "runs"], ["the", "cat"], ["snow", "snow", "on", "grass"],
    ["a", "cat", "sits", "on", "a", "cat", "on", "the", "snow"],
)  # fmt: skip


def test_without_a_photo_it_is_the_mean_cider_d_with_all_captions():
    """Features that are all alike tell nothing; ridge then predicts the mean over photos.

    Exactly, where captions are of one length and say nothing twice.
    """
    random = np.random.default_rng(1)
    words = [[random.permutation(WORDS)[:5].tolist() for _ in range(3)] for _ in range(12)]
    frequencies, vocabulary = DocumentFrequencies.of(words), Vocabulary(WORDS)
    features = np.ones((12, 5), np.float32)
    predictor = fit_cider_predictor(features, EncodedCaptions.of(words, vocabulary), ALL)
    for sentence in SENTENCES:
        each = cider_d([sentence] * len(words), words, frequencies)
        found = predictor.score([[vocabulary.encode(sentence)]], features[:1])[0]
        assert found == pytest.approx(each.mean(), abs=0.01)
        assert each.mean() > 0.05


def test_the_length_penalty_is_the_mean_over_train(world):
    vocabulary, features, words, captions = world
    theirs = [len(sentence) for own in words for sentence in own]
    predictor = fit_cider_predictor(features, captions, ALL)
    for length in (0, 3, 10, 23):
        factor = np.mean([np.exp(-((length - other) ** 2) / 72) for other in theirs])
        assert predictor.length_penalty[length] == pytest.approx(factor, abs=1e-3)
    cat = vocabulary.encode(["cat"])
    sentences = [cat, cat * 40, cat * 400]
    short, long, longer = np.abs(predictor.score([sentences], features[:1])[0])
    assert 0 < longer < long < 0.001 * short


def test_it_is_ridge_regression_of_the_captions_vectors(world):
    """With all directions kept, by the plain normal equations."""
    vocabulary, features, words, captions = world
    kept = [i for i, own in enumerate(words) if own]
    spread = Counter(g for i in kept for g in {g for own in words[i] for g in ngrams(own)})
    places = {g: column for column, g in enumerate(sorted(spread))}

    def vector(sentence, once=False):
        found, counts = np.zeros(len(places)), np.ones(len(places))
        for gram, count in ngrams(sentence).items():
            found[places[gram]] = count * np.log(len(kept) / spread[gram])
            counts[places[gram]] = count
        for n in range(1, 5):
            columns = [column for gram, column in places.items() if len(gram) == n]
            norm = np.linalg.norm(found[columns])
            found[columns] /= norm or 1
        return found / counts if once else found

    wanted = np.stack([np.mean([vector(s) for s in words[i]], axis=0) for i in kept])
    roots = np.sign(features) * np.sqrt(np.abs(features).astype(float))
    roots /= np.linalg.norm(roots, axis=1, keepdims=True)
    mean = roots[kept].mean(axis=0)
    centred = roots[kept] - mean
    penalty = 0.1 * (centred**2).sum() / len(kept) * np.eye(5)
    weights = np.linalg.solve(centred.T @ centred + penalty, centred.T @ wanted)
    sentences = [own for i in kept for own in words[i]][:6]
    predictor = fit_cider_predictor(features, captions, ALL)
    asked_of = np.stack([vector(sentence, once=True) for sentence in sentences])
    factors = predictor.length_penalty[[len(sentence) for sentence in sentences]]
    predicted = (roots[:4] - mean) @ weights + wanted.mean(axis=0)
    expected = 2.5 * predicted @ asked_of.T * factors
    found = np.stack(predictor.score([encoded(vocabulary, sentences)] * 4, features[:4]))
    np.testing.assert_allclose(found, expected, atol=0.15)  # matrices are int8
    assert np.abs(found - expected).mean() < 0.03
    assert expected.std() > 1


def test_few_directions_keep_what_explains_most(world):
    vocabulary, features, words, captions = world
    own = [encoded(vocabulary, sentences) for sentences in words]

    def scores(directions):
        options = ALL.model_copy(update={"directions": directions})
        return np.concatenate(fit_cider_predictor(features, captions, options).score(own, features))

    whole = scores(5)
    errors = [np.abs(scores(directions) - whole).mean() for directions in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[-1]


def test_a_caption_of_the_photo_is_predicted_to_score_more(world):
    vocabulary, features, words, captions = world
    predictor = fit_cider_predictor(features, captions, ALL)
    own = [encoded(vocabulary, sentences) for sentences in words]
    theirs = [own[(i + 4) % 12] for i in range(12)]
    right = np.concatenate(predictor.score(own, features)).mean()
    wrong = np.concatenate(predictor.score(theirs, features)).mean()
    assert right > 1.5 * wrong > 0


def test_unknown_words_count_in_the_length_alone(world):
    vocabulary, features, _, captions = world
    predictor = fit_cider_predictor(features, captions, ALL)
    dog = vocabulary.encode(["dog"])[0]
    unknown = Vocabulary.UNK
    scores = predictor.score([[[dog], [dog, unknown], [unknown], []]], features[:1])[0]
    assert scores[2:].tolist() == [0, 0]
    assert 0 < abs(scores[1]) < abs(scores[0])


def test_ngrams_with_unknown_words_are_never_predicted():
    vocabulary = Vocabulary(["dog"])
    captions = EncodedCaptions.of([[["dog", "zebra"]], [["zebra"]], [["dog"]]], vocabulary)
    predictor = fit_cider_predictor(np.eye(3, dtype=np.float32), captions, ALL)
    assert predictor.token_ids.tolist() == [[vocabulary.encode(["dog"])[0], -1, -1, -1]]


def test_the_ngrams_of_most_images_are_kept(world):
    vocabulary, features, words, captions = world
    spread = Counter(g for own in words for g in {g for sentence in own for g in ngrams(sentence)})
    predictor = fit_cider_predictor(features, captions, ALL.model_copy(update={"ngrams": 7}))
    kept = [tuple(vocabulary.decode(w for w in ids if w >= 0)) for ids in predictor.token_ids]
    counts = [spread[ngram] for ngram in kept]
    assert counts == sorted(spread.values(), reverse=True)[:7]
    np.testing.assert_allclose(predictor.idf, np.log(9 / np.array(counts)), atol=1e-3)
    assert predictor.max_idf[0] == pytest.approx(np.log(9), abs=1e-3)


def test_blocks_of_images_are_as_all_at_once(world, monkeypatch):
    _, features, _, captions = world
    whole = fit_cider_predictor(features, captions, ALL).arrays
    monkeypatch.setattr(cider_predictor, "BLOCK", 4)
    for name, array in fit_cider_predictor(features, captions, ALL).arrays.items():
        np.testing.assert_allclose(array, whole[name], atol=np.abs(whole[name]).max() / 100)


@pytest.mark.parametrize("words", [[[], []], [[["zebra"]], [[]]]])
def test_captions_without_a_known_word_are_refused(words):
    captions = EncodedCaptions.of(words, Vocabulary(["dog"]))
    with pytest.raises(
        DataError, match=r"No train caption has a word of the vocabulary.* mrnn check"
    ):
        fit_cider_predictor(np.eye(2, dtype=np.float32), captions, ALL)


def test_the_same_data_give_the_same_fit_and_other_random_numbers_stay(world):
    _, features, _, captions = world
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, other = (fit_cider_predictor(features, captions, ALL).arrays for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all((one[name] == other[name]).all() for name in one)


def test_photos_that_are_all_alike_tell_nothing():
    vocabulary = Vocabulary(["dog", "cat"])
    captions = EncodedCaptions.of([[["dog"]], [["cat"]]], vocabulary)
    predictor = fit_cider_predictor(np.ones((2, 3), np.float32), captions, ALL)
    dog, cat = predictor.score([[[3], [4]]], np.ones((1, 3), np.float32))[0]
    assert dog == pytest.approx(cat, abs=1e-3)


@pytest.mark.parametrize("change", [{"ngrams": 0}, {"directions": 0}, {"penalty": 0}, {"rank": 3}])
def test_impossible_options_are_refused(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        CiderPredictorOptions(**change)
