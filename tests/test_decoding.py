import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mrnn.decoding import DecodingOptions, decode
from mrnn.vocabulary import Vocabulary

START, END, UNKNOWN = Vocabulary.START, Vocabulary.END, Vocabulary.UNKNOWN


class TableModel:
    """A fake: the next word's distribution depends on the last two words and on the image."""

    def __init__(self, vocabulary: int, seed: int = 0, sharpness: float = 2.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        shape = (vocabulary, vocabulary, vocabulary)
        self.vocabulary = vocabulary
        self.logits = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)

    def begin(self, count):
        return torch.full((count, 1), float(START), dtype=torch.float64)

    def advance(self, words, state, seen):
        logits = self.logits[state[:, 0].long(), words] + seen
        return logits.log_softmax(-1), words[:, None].double()

    def sentences(self, seen, longest):
        """Every sentence that may be said, with its log-probabilities: brute force."""
        words = [w for w in range(self.vocabulary) if w not in (START, END, UNKNOWN)]
        for length in range(1, longest + 1):
            for sentence in itertools.product(words, repeat=length):
                state, last, steps = self.begin(1), START, []
                for word in (*sentence, END):
                    log_probs, state = self.advance(torch.tensor([last]), state, seen[None])
                    steps.append(float(log_probs[0, word]))
                    last = word
                yield sentence, steps


@pytest.fixture
def seen():
    return torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
def test_a_beam_as_wide_as_the_language_equals_exhaustive_search(seen, exponent):
    model = TableModel(6)
    options = DecodingOptions(beam_size=200, n_best=12, maximum_words=4, length_exponent=exponent)
    found = decode(model, seen, options)
    for image, hypotheses in enumerate(found):
        every = [
            (sum(steps) / len(steps) ** exponent, sentence)
            for sentence, steps in model.sentences(seen[image], 4)
        ]
        best = sorted(every, reverse=True)[:12]
        assert [h.words for h in hypotheses] == [sentence for _, sentence in best]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in best])


def test_greedy_takes_the_likeliest_word_each_time(seen):
    model = TableModel(6)
    found = decode(model, seen, DecodingOptions(beam_size=1, maximum_words=8))
    for image, (hypothesis,) in enumerate(found):
        state, last, words = model.begin(1), START, []
        while last != END:
            log_probs, state = model.advance(torch.tensor([last]), state, seen[image][None])
            log_probs[:, [START, UNKNOWN]] = -math.inf
            if not words:
                log_probs[:, END] = -math.inf
            last = END if len(words) == 8 else int(log_probs.argmax())
            words.append(last)
        assert hypothesis.words == tuple(words[:-1])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 7), st.integers(1, 5),
    st.floats(0, 1.5),
)  # fmt: skip
def test_whatever_the_options_sentences_are_whole(seed, beam_size, n_best, longest, exponent):
    model = TableModel(5, seed, sharpness=6)
    options = DecodingOptions(
        beam_size=beam_size, n_best=n_best, maximum_words=longest, length_exponent=exponent
    )
    seen = torch.zeros(2, 5, dtype=torch.float64)
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
    model.logits[:, :, END] = 50
    for beam_size in (1, 4):
        options = DecodingOptions(beam_size=beam_size)
        ((hypothesis, *_),) = decode(model, torch.zeros(1, 6, dtype=torch.float64), options)
        assert len(hypothesis.words) == 1


def test_a_model_that_never_stops_is_stopped():
    model = TableModel(6)
    model.logits[:, :, END] = -50
    options = DecodingOptions(beam_size=2, maximum_words=7)
    ((hypothesis,),) = decode(model, torch.zeros(1, 6, dtype=torch.float64), options)
    assert len(hypothesis.words) == 7


def test_no_images_no_sentences():
    assert decode(TableModel(6), torch.zeros(0, 6, dtype=torch.float64), DecodingOptions()) == []


@pytest.mark.parametrize(
    "bad", [{"beam_size": 0}, {"n_best": 0}, {"maximum_words": 0}, {"beam": 3}]
)
def test_impossible_options_are_refused(bad):
    with pytest.raises(ValidationError):
        DecodingOptions(**bad)
