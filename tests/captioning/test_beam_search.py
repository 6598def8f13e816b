import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.errors import OptionsError
from mrnn.model.config import DecodingOptions
from tests.captioning.table_model import BOS, EOS, UNK, TableModel, random_images


@pytest.fixture
def seen():
    return random_images(3, 6, seed=5)


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0])
def test_a_beam_as_wide_as_the_language_equals_exhaustive_search(seen, length_penalty):
    model = TableModel(6)
    options = DecodingOptions(beam_size=200, n_best=12, max_length=4, length_penalty=length_penalty)
    found = decode(model, seen, options)
    for image, hypotheses in enumerate(found):
        every = [
            (sum(steps) / len(steps) ** length_penalty, sentence)
            for sentence, steps in model.sentences(seen[image], 4)
        ]
        best = sorted(every, reverse=True)[:12]
        assert [h.words for h in hypotheses] == [sentence for _, sentence in best]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in best])


def test_greedy_takes_the_likeliest_word_each_time(seen):
    model = TableModel(6)
    found = decode(model, seen, DecodingOptions(beam_size=1, max_length=8))
    for image, (hypothesis,) in enumerate(found):
        state, last, words = model.initial_state(1), BOS, []
        while last != EOS:
            log_probs, state = model.step(np.array([last]), state, seen[image][None])
            log_probs[:, [BOS, UNK]] = -math.inf
            if not words:
                log_probs[:, EOS] = -math.inf
            last = EOS if len(words) == 8 else int(log_probs.argmax())
            words.append(last)
        assert hypothesis.words == tuple(words[:-1])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7), st.integers(1, 5),
    st.floats(0, 1.5),
)  # fmt: skip
def test_whatever_the_options_sentences_are_whole(seed, beam_size, n_best, longest, length_penalty):
    model = TableModel(5, seed, sharpness=6)
    options = DecodingOptions(
        beam_size=beam_size, n_best=n_best, max_length=longest, length_penalty=length_penalty
    )
    seen = np.zeros((2, 5))
    for hypotheses in decode(model, seen, options):
        possible = dict(model.sentences(seen[0], longest))
        assert len(hypotheses) == min(n_best, len(possible))
        assert len({h.words for h in hypotheses}) == len(hypotheses)
        assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
        for h in hypotheses:
            assert h.word_log_probabilities == pytest.approx(tuple(possible[h.words]))
            assert h.log_probability == pytest.approx(sum(possible[h.words]))


def test_the_order_of_images_does_not_matter(seen):
    model, options = TableModel(6, sharpness=4), DecodingOptions(beam_size=3, n_best=3)
    together = decode(model, seen, options)
    for image in range(3):
        (alone,) = decode(model, seen[image : image + 1], options)
        assert [h.words for h in alone] == [h.words for h in together[image]]


def test_a_model_that_only_wants_to_stop_still_says_a_word():
    model = TableModel(6)
    model.logits[:, :, EOS] = 50
    for beam_size in (1, 4):
        options = DecodingOptions(beam_size=beam_size)
        ((hypothesis, *_),) = decode(model, np.zeros((1, 6)), options)
        assert len(hypothesis.words) == 1


def test_a_model_that_never_stops_is_stopped():
    model = TableModel(6)
    model.logits[:, :, EOS] = -50
    options = DecodingOptions(beam_size=2, max_length=7)
    ((hypothesis,),) = decode(model, np.zeros((1, 6)), options)
    assert len(hypothesis.words) == 7


def test_no_images_no_sentences():
    assert decode(TableModel(6), np.zeros((0, 6)), DecodingOptions()) == []


def test_without_room_no_image_has_a_sentence(seen):
    constraints = Constraints(bad_words=(3, 4, 5))
    with pytest.raises(OptionsError, match=r"^No sentence of 1 to 30 words keeps to the options: "):
        decode(TableModel(6), seen, DecodingOptions(), constraints)


WORDS = st.sampled_from([3, 4, 5])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3),
    st.sets(WORDS, max_size=2), st.sets(WORDS, max_size=1), st.lists(WORDS, max_size=2),
    st.integers(1, 2),
)  # fmt: skip
def test_a_wide_beam_finds_all_that_keeps_to_the_options(
    seed, shortest, longest, ngram, force, bad, prefix, groups
):
    options = DecodingOptions(
        beam_size=200 * groups, n_best=1000, min_length=min(shortest, longest),
        max_length=longest, no_repeat_ngram=ngram, beam_groups=groups,
    )  # fmt: skip
    constraints = Constraints(tuple(force), tuple(bad), tuple(prefix))
    model, image = TableModel(6, seed), np.zeros(6)
    every = [
        (sum(steps) / len(steps) ** 0.7, sentence)
        for sentence, steps in model.sentences(image, longest)
        if keeps_to(sentence, options, constraints)
    ]
    if not every:
        with pytest.raises(OptionsError):
            decode(model, image[None], options, constraints)
        return
    (found,) = decode(model, image[None], options, constraints)
    assert [h.words for h in found] == [sentence for _, sentence in sorted(every, reverse=True)]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4), st.integers(3, 8),
    st.integers(0, 3), st.sets(WORDS, max_size=2), st.sets(WORDS, max_size=1), st.integers(1, 3),
)  # fmt: skip
def test_a_narrow_beam_keeps_to_the_options(
    seed, beam_size, shortest, longest, ngram, force, bad, groups
):
    options = DecodingOptions(
        beam_size=beam_size, n_best=3, min_length=min(shortest, longest), max_length=longest,
        no_repeat_ngram=0 if ngram == 1 else ngram, beam_groups=groups,
    )  # fmt: skip
    constraints = Constraints(tuple(force - bad), tuple(bad), (4,) * (4 not in bad))
    model, seen = TableModel(6, seed, 6), random_images(2, 6)
    for image, found in enumerate(decode(model, seen, options, constraints)):
        assert found
        assert len({h.words for h in found}) == len(found) <= 3
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert keeps_to(h.words, options, constraints)
            assert len(h.words) <= longest
            own = [
                model.next_word(h.words[:place], seen[image])[word]
                for place, word in enumerate((*h.words, EOS))
            ]
            assert h.word_log_probabilities == pytest.approx(own)


def keeps_to(sentence, options, constraints):
    n = options.no_repeat_ngram
    runs = [sentence[i : i + n] for i in range(len(sentence) - n + 1)] if n else []
    return (
        len(sentence) >= options.min_length
        and set(constraints.force_words) <= set(sentence)
        and not set(constraints.bad_words) & set(sentence)
        and sentence[: len(constraints.prefix)] == constraints.prefix
        and len(set(runs)) == len(runs)
    )


def test_force_words_are_found_not_pasted_on():
    """Word 5 is likely after 3 4 only; the likeliest sentence with it has it there."""
    model = TableModel(6, sharpness=0)
    model.logits[BOS, BOS, 3] = model.logits[BOS, 3, 4] = 5
    model.logits[3, 4, [EOS, 5]] = [8.0, 4.0]
    model.logits[4, 5, 4] = model.logits[5, 4, EOS] = 8
    image, force = np.zeros((1, 6)), Constraints(force_words=(5,))
    options = DecodingOptions(beam_size=2, max_length=8, length_penalty=0)
    ((free, *_),) = decode(model, image, options)
    ((held, *_),) = decode(model, image, options, force)
    assert free.words == (3, 4)
    assert held.words == (3, 4, 5, 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_one_group_is_a_plain_beam_whatever_the_penalty(seed, beam_size, n_best, longest):
    model, seen = TableModel(6, seed), random_images(2, 6)
    plain = DecodingOptions(beam_size=beam_size, n_best=n_best, max_length=longest)
    one_group = plain.model_copy(update={"beam_groups": 1, "diversity_penalty": 9.0})
    assert decode(model, seen, one_group) == decode(model, seen, plain)


def test_the_first_group_is_a_plain_beam(seen):
    model = TableModel(6)
    (plain, *_) = decode(model, seen, DecodingOptions(beam_size=1))
    options = DecodingOptions(beam_size=3, beam_groups=3, diversity_penalty=2)
    assert decode(model, seen, options)[0] == plain


def test_greedy_groups_are_those_of_the_paper(seen):
    """Algorithm 1 with one hypothesis a group, word by word."""
    model, penalty, longest = TableModel(8, 3), 1.5, 5
    seen = random_images(1, 8, seed=2)
    model.logits[:, :, EOS] = -30  # so that all groups go to the maximum
    groups = [(), (), ()]
    for _ in range(longest):
        taken = []
        for number, sentence in enumerate(groups):
            own = model.next_word(sentence, seen[0])
            scores = {w: own[w] - penalty * taken.count(w) for w in range(3, 8)}
            taken.append(max(scores, key=scores.get))
            groups[number] = (*sentence, taken[-1])
    options = DecodingOptions(
        n_best=3, beam_groups=3, diversity_penalty=penalty, max_length=longest
    )
    (found,) = decode(model, seen, options)
    assert {h.words for h in found} == set(groups)
    assert len(set(groups)) == 3


def test_groups_differ_more_than_one_beam():
    model = TableModel(12, 1, sharpness=1)
    seen = random_images(20, 12, seed=0)

    def first_words(**options):
        options = DecodingOptions(n_best=4, max_length=6, **options)
        return sum(len({h.words[0] for h in found}) for found in decode(model, seen, options))

    assert first_words(beam_groups=4, diversity_penalty=3) > 1.5 * first_words()
