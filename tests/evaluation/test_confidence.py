import numpy as np
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.data.features import extract_features, load_features
from mrnn.evaluation import confidence as module
from mrnn.evaluation.confidence import measure_confidence
from mrnn.evaluation.evaluate import best_captions, evaluate
from mrnn.metrics.calibration import expected_calibration_error, spearman


@pytest.fixture
def said(confident_model, colours, colour_encoder):
    """A captioner, features, its captions of 30 photos, and a CIDEr-D for each."""
    extract_features(colours, colour_encoder)
    captioner = Captioner.for_features(confident_model)
    features = load_features(colours, colour_encoder.identity).of(colours.images)
    config = captioner.checkpoint.config
    captions = best_captions(captioner, features, config.decoding, config.reranking)
    return captioner, captions, features, np.random.default_rng(0).random(30)


def test_figures_are_those_of_the_captioner_and_the_metrics(said, monkeypatch):
    captioner, captions, features, ciders = said
    monkeypatch.setattr(module, "IMAGES_AT_ONCE", 7)
    scores, intervals = measure_confidence(*said, resamples=50, seed=0)
    confidence = np.array(captioner.confidence(captions, features.astype(np.float32)))
    familiarity = captioner.checkpoint.familiarity.score(features.astype(np.float32))
    assert scores.right == (ciders >= 0.5).mean()
    assert scores.mean == pytest.approx(confidence.mean())
    error = expected_calibration_error(confidence, ciders >= 0.5)
    assert scores.expected_calibration_error == pytest.approx(error)
    assert scores.cider_correlation == pytest.approx(spearman(confidence, ciders))
    assert scores.familiarity_correlation == pytest.approx(spearman(familiarity, ciders))
    for name in ("cider_correlation", "familiarity_correlation"):
        low, high = intervals[f"confidence.{name}"]
        assert low < getattr(scores, name) < high


def test_it_is_a_part_of_the_report(said, colours):
    captioner, _, features, _ = said
    report = evaluate(captioner, colours.images, features, tasks=["generation"], with_meteor=False)
    assert 0 <= report.confidence.expected_calibration_error <= 1
    assert report.confidence.right == (np.array(report.ciders) >= 0.5).mean()
    assert {"confidence.cider_correlation"} < report.intervals.keys()
    assert report.settings["confidence"].startswith("right from CIDEr-D 0.5;")
