import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.captioning.sampling import temper
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from tests.captioning.table_model import BOS, EOS, UNK, TableModel, log_softmax, random_images

IMAGE = np.array([0.3, -0.2, 0.1, 0.5, 0.0])
SAMPLES = 4000


def distribution(model, options, sentence=()):
    """The probability of each sentence that can be sampled, word by word."""
    if len(sentence) == options.max_length:
        return {sentence: 1.0}
    own = model.next_word(sentence, IMAGE)
    forbidden = {BOS, UNK} | ({EOS} if len(sentence) < options.min_length else set())
    allowed = [w for w in range(model.vocabulary) if w not in forbidden]
    weights = {w: math.exp(own[w] / options.temperature) for w in allowed}
    ordered = sorted(weights, key=weights.get, reverse=True)[: options.top_k or None]
    whole, kept = sum(weights[w] for w in ordered), []
    for word in ordered:
        if sum(weights[w] for w in kept) < options.top_p * whole:
            kept.append(word)
    whole = sum(weights[w] for w in kept)
    found = {}
    for word in kept:
        if word == EOS:
            found[sentence] = weights[word] / whole
            continue
        for longer, share in distribution(model, options, (*sentence, word)).items():
            found[longer] = share * weights[word] / whole
    return found


def chi_square(counts, expected):
    """Of counts against expected counts; the rare ones are put together."""
    rare = [key for key in expected if expected[key] < 5]
    parts = [(counts[key], expected[key]) for key in expected if key not in rare]
    if sum(expected[key] for key in rare) >= 1:
        parts.append((sum(counts[k] for k in rare), sum(expected[k] for k in rare)))
    return sum((n - e) ** 2 / e for n, e in parts), len(parts) - 1


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1.0},
        {"temperature": 0.6, "seed": 3},
        {"temperature": 2.5},
        {"temperature": 1.0, "top_k": 2},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 1.5, "top_k": 3, "top_p": 0.8, "min_length": 2},
    ],
)
def test_sentences_are_sampled_as_often_as_they_are_probable(asked):
    model, options = TableModel(5), DecodingOptions(max_length=3, **asked)
    found = decode(model, np.tile(IMAGE, (SAMPLES, 1)), options)
    counts = Counter(h.words for (h,) in found)
    exact = distribution(model, options)
    assert sum(exact.values()) == pytest.approx(1)
    assert set(counts) <= set(exact)
    statistic, freedom = chi_square(counts, {s: SAMPLES * share for s, share in exact.items()})
    assert statistic <= freedom + 4 * math.sqrt(2 * freedom)


def test_several_are_sampled_without_replacement():
    model, options = TableModel(5), DecodingOptions(max_length=2, temperature=1, n_best=2)
    counts = Counter(
        frozenset(h.words for h in found)
        for found in decode(model, np.tile(IMAGE, (SAMPLES, 1)), options)
    )
    exact = distribution(model, options)
    expected = {
        frozenset((a, b)): SAMPLES * exact[a] * exact[b] * (1 / (1 - exact[a]) + 1 / (1 - exact[b]))
        for a, b in itertools.combinations(exact, 2)
    }
    statistic, freedom = chi_square(counts, expected)
    assert set(counts) <= set(expected)
    assert statistic <= freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("asked", [{}, {"top_k": 2}, {"top_p": 0.6}, {"min_length": 3}])
def test_asked_for_more_than_there_are_all_are_sampled(asked):
    options = DecodingOptions(max_length=3, temperature=1, n_best=100, **asked)
    model = TableModel(5)
    (found,) = decode(model, IMAGE[None], options)
    assert {h.words for h in found} == set(distribution(model, options))
    assert len(found) == len({h.words for h in found})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.floats(0.05, 5), st.integers(0, 6), st.floats(0.01, 1)
)  # fmt: skip
def test_what_is_cut_off_is_exact(seed, temperature, top_k, top_p):
    log_probs = log_softmax(random_images(3, 6, seed))
    options = DecodingOptions(temperature=temperature, top_k=top_k, top_p=top_p)
    for row, tempered in zip(log_probs.tolist(), temper(log_probs, options).tolist(), strict=True):
        weights = [math.exp(x / temperature) for x in row]
        ordered = sorted(range(6), key=lambda w: -weights[w])[: top_k or None]
        whole = sum(weights[w] for w in ordered)
        shares = list(itertools.accumulate(weights[w] / whole for w in ordered))
        kept = ordered[: 1 + sum(share < top_p for share in shares[:-1])]
        assert {w for w in range(6) if tempered[w] > -math.inf} == set(kept)
        whole = sum(weights[w] for w in kept)
        assert [tempered[w] for w in kept] == pytest.approx(
            [math.log(weights[w] / whole) for w in kept], abs=1e-9
        )


def test_ties_are_cut_by_the_lower_id():
    options = DecodingOptions(temperature=1, top_k=2)
    kept = temper(log_softmax(np.zeros((1, 5))), options) > -math.inf
    assert kept.tolist() == [[True, True, False, False, False]]


def test_any_temperature_leaves_something_to_sample():
    log_probs = log_softmax(random_images(2, 9))
    log_probs[:, 0] = -math.inf
    for temperature in (1e-30, 1e-3, 1000):
        tempered = temper(log_probs, DecodingOptions(temperature=temperature))
        assert np.exp(tempered).sum(axis=1).tolist() == pytest.approx([1, 1])
    nothing = temper(np.full((1, 9), -math.inf), DecodingOptions(temperature=1))
    assert np.isneginf(nothing).all()


def test_a_low_temperature_is_greedy_search():
    model, seen = TableModel(7), random_images(4, 7)
    cold = decode(model, seen, DecodingOptions(temperature=1e-6, max_length=6))
    greedy = decode(model, seen, DecodingOptions(beam_size=1, max_length=6))
    assert [h.words for (h,) in cold] == [h.words for (h,) in greedy]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3),
    st.sets(st.sampled_from([3, 4, 5]), max_size=1),
)  # fmt: skip
def test_what_is_sampled_keeps_to_the_options(seed, n_best, shortest, ngram, bad):
    options = DecodingOptions(
        temperature=2, seed=seed, n_best=n_best, min_length=shortest, max_length=7,
        no_repeat_ngram=0 if ngram == 1 else ngram,
    )  # fmt: skip
    constraints = Constraints(bad_words=tuple(bad), prefix=(6,))
    model, seen = TableModel(8, seed), random_images(2, 8)
    for image, found in enumerate(decode(model, seen, options, constraints)):
        assert len({h.words for h in found}) == len(found) == n_best
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert shortest <= len(h.words) <= 7
            assert h.words[0] == 6
            assert not {BOS, EOS, UNK, *bad} & {*h.words}
            runs = [h.words[i : i + ngram] for i in range(len(h.words) - ngram + 1)]
            assert ngram < 2 or len({*runs}) == len(runs)
            own = [
                model.next_word(h.words[:place], seen[image])[word]
                for place, word in enumerate((*h.words, EOS))
            ]
            assert h.word_log_probabilities == pytest.approx(own)


def test_a_sample_depends_on_seed_key_and_image_alone():
    model, options = TableModel(9), DecodingOptions(temperature=1, n_best=3, max_length=8)
    seen = random_images(5, 9)
    together = decode(model, seen, options, keys=[7, 1, 4, 8, 2])
    for image, key in ((0, 7), (2, 4), (4, 2)):
        (alone,) = decode(model, seen[image, None], options, keys=[key])
        assert [h.words for h in alone] == [h.words for h in together[image]]
    assert together == decode(model, seen, options, keys=[7, 1, 4, 8, 2])
    assert together != decode(model, seen, options, keys=[7, 1, 4, 8, 2][::-1])
    seeded = options.model_copy(update={"seed": 1})
    assert together != decode(model, seen, seeded, keys=[7, 1, 4, 8, 2])


def test_where_nothing_can_be_sampled():
    constraints = Constraints(bad_words=(3, 4))
    with pytest.raises(OptionsError, match=r"^No sentence of 1 to 30 words keeps to the options: "):
        decode(TableModel(5), IMAGE[None], DecodingOptions(temperature=1), constraints)
    assert decode(TableModel(5), IMAGE[None][:0], DecodingOptions(temperature=1)) == []
