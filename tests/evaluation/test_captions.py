import json
from pathlib import Path

import numpy as np
import pytest

from mrnn.errors import DataError, MeasureError
from mrnn.evaluation import captions as caption_scores
from mrnn.evaluation.captions import (
    CaptionStatistics,
    check_texts,
    measure,
    score,
    score_captions,
    score_generation,
)
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.tokenizer import tokenize

FILE = Path(__file__).parents[1] / "metrics" / "golden.json"
GOLDEN = json.loads(FILE.read_text(encoding="utf-8"))
HYPOTHESES = [sentence.split() for sentence in GOLDEN["hypotheses"]]
REFERENCES = [[sentence.split() for sentence in image] for image in GOLDEN["references"]]


class FakeMeteor:
    """Counts as METEOR would if every word were right and alone."""

    def __init__(self):
        self.closed = False
        FakeMeteor.last = self

    def statistics(self, hypotheses, references):
        return np.array([[4, 4, 2, 2, 2, 2, 2, 2, *[0] * 12, 4, 4, 4]] * len(hypotheses), float)

    def close(self):
        self.closed = True


class DyingMeteor(FakeMeteor):
    def statistics(self, hypotheses, references):
        raise MeasureError("METEOR failed: Java ended with code 1 (no message)")


@pytest.fixture
def statistics():
    return CaptionStatistics.of(HYPOTHESES, REFERENCES)


def test_scores_equal_the_reference_scorer():
    report, statistics = score(HYPOTHESES, REFERENCES, with_meteor=False, resamples=10)
    figures = report.generation
    bleu = [figures.bleu_1, figures.bleu_2, figures.bleu_3, figures.bleu_4]
    assert bleu == pytest.approx(GOLDEN["corpus_bleu"], rel=0, abs=1e-9)
    assert figures.rouge_l == pytest.approx(GOLDEN["corpus_rouge_l"], rel=0, abs=1e-9)
    assert figures.cider == pytest.approx(GOLDEN["cider"], rel=0, abs=1e-9)
    images = statistics.of_images()
    np.testing.assert_allclose(images["cider"], GOLDEN["cider_d"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(images["rouge_l"], GOLDEN["rouge_l"], rtol=0, atol=1e-9)
    of_bleu = np.stack([images[f"bleu_{n}"] for n in range(1, 5)], axis=1)
    np.testing.assert_allclose(of_bleu, GOLDEN["sentence_bleu"], rtol=0, atol=1e-9)


def test_a_set_of_images_scores_as_if_it_were_all(statistics):
    generator = np.random.default_rng(0)
    frequencies = DocumentFrequencies.of(REFERENCES)
    weights = generator.multinomial(len(HYPOTHESES), [1 / len(HYPOTHESES)] * len(HYPOTHESES), 5)
    scores = statistics.of_sets(weights.astype(float))
    for row, counts in zip(scores, weights, strict=True):
        places = np.repeat(np.arange(len(counts)), counts)
        h, r = [HYPOTHESES[i] for i in places], [REFERENCES[i] for i in places]
        assert row[:4] == pytest.approx(corpus_bleu(h, r), abs=1e-12)
        cider = row[statistics.measures.index("cider")]
        assert cider == pytest.approx(cider_d(h, r, frequencies).mean(), abs=1e-12)


def test_intervals_hold_the_scores_and_repeat(statistics):
    intervals = statistics.intervals(500, seed=1)
    assert intervals == statistics.intervals(500, seed=1) != statistics.intervals(500, seed=2)
    for key, value in statistics.of_corpus().items():
        low, high = intervals[key]
        assert low < value < high or low == value == high == 0


def test_inventions_are_those_of_the_images():
    hypotheses = ["A dog on grass.", "A cat.", "A man with a kite."]
    references = [["A puppy runs.", "A dog on grass.", "A field."], ["A kitten."], ["A wave."]]
    report = score_captions(hypotheses, references, with_meteor=False, resamples=20)
    figures = report.generation
    assert figures.invented == 2 / 5
    assert figures.invented_person_or_dog == 1
    assert figures.things_recall == 3 / 4
    assert {"invented", "invented_person_or_dog", "things_recall"} < report.intervals.keys()
    words = [[tokenize(text) for text in texts] for texts in references]
    statistics = CaptionStatistics.of([tokenize(text) for text in hypotheses], words)
    images = statistics.of_images()
    assert images["invented"].tolist() == [0, 0, 1]
    assert images["invented_person_or_dog"].tolist() == [0, 0, 1]
    assert images["things_recall"].tolist() == [1, 1, 0]


def test_meteor_is_scored_with_the_rest(monkeypatch):
    monkeypatch.setattr(caption_scores, "Meteor", FakeMeteor)
    report, statistics = score(HYPOTHESES, REFERENCES, resamples=5)
    assert report.generation.meteor == pytest.approx(0.4)
    assert report.intervals["meteor"] == pytest.approx((0.4, 0.4))
    assert statistics.of_images()["meteor"].tolist() == pytest.approx([0.4] * len(HYPOTHESES))
    assert FakeMeteor.last.closed
    assert not any(note.startswith("meteor") for note in report.notes)


def test_a_meteor_that_dies_takes_nothing_with_it(monkeypatch):
    monkeypatch.setattr(caption_scores, "Meteor", DyingMeteor)
    report, _ = score(HYPOTHESES, REFERENCES, resamples=5)
    assert report.generation.meteor is None
    assert "meteor" not in report.intervals
    assert report.generation.cider == pytest.approx(GOLDEN["cider"])
    assert "meteor: METEOR failed: Java ended with code 1 (no message)" in report.notes
    assert FakeMeteor.last.closed


def test_notes_on_what_is_odd():
    _, notes = measure([[[]]], [[["a", "dog"]]], with_meteor=False)
    assert notes[0] == "meteor: not asked for"
    assert notes[1].startswith("cider: 0 on one image by itself, whatever the caption")
    assert notes[2] == "captions without a word, which score 0: 1"
    frequencies = DocumentFrequencies.of(REFERENCES)
    (statistics,), notes = measure(
        [[["a", "dog"]]], [[["a", "dog"]]], frequencies=frequencies, with_meteor=False
    )
    assert notes == ["meteor: not asked for"]
    assert statistics.of_corpus()["cider"] > 1


@pytest.mark.parametrize(
    ("counts", "protocol"), [([5, 5], "c5"), ([40], "c40"), ([4, 6, 5], "c4-6")]
)
def test_settings_say_how_many_references_there_are(counts, protocol):
    references = [[["a", "dog"]] * count for count in counts]
    report, _ = score([["a"]] * len(counts), references, with_meteor=False, resamples=5)
    assert report.settings["protocol"] == protocol
    assert report.settings["references"] == sum(counts)
    assert report.settings["document_frequencies_of"] == "these references"


def test_perfect_captions_score_perfectly():
    references = [[f"word{i}{j}" for j in range(6)] for i in range(4)]
    scores = score_generation(references, [[words] for words in references])
    assert (scores.bleu_4, scores.rouge_l) == pytest.approx((1, 1))
    assert (scores.cider, scores.cider_plain) == pytest.approx((10, 10))
    assert scores.distinct == 1
    repeated = score_generation([references[0]] * 4, [[words] for words in references])
    assert repeated.distinct == 1 / 4
    assert repeated.cider < 3


def test_refuses_what_does_not_belong_together():
    with pytest.raises(DataError, match=r"^Image 0 has no references; expected at least one$"):
        score([["a"]], [[]], with_meteor=False)


def test_texts_are_tokenized_and_scored(monkeypatch):
    hypotheses = ["A dog runs.", "A red bus in a street."]
    references = [["A dog is running.", "The brown dog runs."], ["A bus!", "A red bus, parked."]]
    monkeypatch.setattr(caption_scores, "Meteor", FakeMeteor)
    report = score_captions(hypotheses, references, resamples=5, seed=3)
    words = [[tokenize(text) for text in texts] for texts in references]
    expected, _ = score([tokenize(text) for text in hypotheses], words, resamples=5, seed=3)
    assert report == expected
    assert report.generation.meteor is not None
    frequencies = DocumentFrequencies.of([[["a"]], [["dog"]], [["runs"]]])
    other = score_captions(hypotheses, references, frequencies=frequencies, with_meteor=False)
    assert other.generation.meteor is None
    assert other.generation.cider != report.generation.cider


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], r"^There are no captions to score$"),
        (["a dog"], [["a dog"], ["a cat"]], r"^1 hypotheses for the references of 2 images; exp"),
        (["a dog"], [[]], r"^Image 0 has no references; expected at least one$"),
        (["a dog"], ["a dog"], r"^A text where a list was expected; give a list of captions, and"),
        ("a dog", [["a"]] * 5, r"^A text where a list was expected; give a list of captions, and"),
    ],
)
def test_texts_that_do_not_belong_together_are_refused(hypotheses, references, message):
    with pytest.raises(DataError, match=message):
        score_captions(hypotheses, references)


@pytest.mark.parametrize("value", [None, 5, float("nan"), ["a"]])
def test_a_caption_that_is_no_text(value):
    check_texts(["a", ""])
    with pytest.raises(DataError, match=r"^A caption is no text but .*; leave it out$"):
        check_texts(["a", value])
