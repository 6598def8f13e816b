import json

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.data.features import extract_features, load_features
from mrnn.errors import OptionsError
from mrnn.evaluation.comparison import compare
from mrnn.evaluation.evaluate import evaluate, references_of
from mrnn.evaluation.report.ranks import rank_split
from mrnn.evaluation.report.report import (
    SIDE,
    Run,
    evenly_spaced,
    make_report,
    n_best,
    read_epochs,
)
from mrnn.metrics.cider import cider_d
from mrnn.retrieval.ranking import Ranker

EPOCH = {"epoch": 1, "train_perplexity": 9.5, "dev_perplexity": 8.5, "shuffled_perplexity": None,
         "distinct": 0.5, "bleu_4": 0.1, "cider": 0.2, "best": True, "words_per_second": 1.0,
         "seconds": 2.0}  # fmt: skip


@pytest.fixture
def images(colours):
    return colours.images


@pytest.fixture
def run(colours, images, checkpoint, colour_encoder):
    extract_features(colours, colour_encoder)
    features = load_features(colours, colour_encoder.identity).of(images)
    return Run("tiny", Captioner(checkpoint), features, checkpoint.decoding)


def report_on(runs, images, **options):
    return make_report(runs, images, data="data", split="all", with_meteor=False, **options)


def test_figures_are_those_of_evaluate(run, images):
    report = report_on([run], images, limit=4)
    (found,) = report.runs
    figures = evaluate(run.captioner, images, run.features, with_meteor=False)
    assert found.figures == figures
    assert len(report.images) == 4
    assert report.comparison is None
    references = references_of(images)
    words = [caption.split() for caption in figures.captions]
    assert figures.ciders == pytest.approx(cider_d(words, references).tolist())


def test_photos_have_the_captions_of_their_features(run, images):
    report = report_on([run], images, limit=5)
    rows = evenly_spaced(len(images), 5)
    assert [image.name for image in report.images] == [images[row].name for row in rows]
    for row, image in zip(rows, report.images, strict=True):
        (found,) = image.captions
        assert image.references == images[row].captions
        assert len(found) == run.options.beam_size
        assert found[0].caption.text == report.runs[0].figures.captions[row]
        assert found[0].cider == pytest.approx(report.runs[0].figures.ciders[row])


def test_two_runs_are_compared_on_all_photos(run, images):
    other = Run("greedy", run.captioner, run.features[::-1], run.options)  # wrong photos
    report = report_on([run, other], images, limit=3)
    said = [found.figures.captions for found in report.runs]
    references = [image.captions for image in images]
    names = [image.name for image in images]
    assert report.comparison == compare(names, *said, references, with_meteor=False)
    assert all(len(image.captions) == 2 for image in report.images)


def test_figures_of_retrieval_are_those_of_evaluate(run, images, ranking_run):
    ranker = Ranker.load(ranking_run, run.captioner.checkpoint)
    found = rank_split(ranker, images, run.features)
    ranked = Run("ranked", run.captioner, run.features, run.options, retrieval=found)
    report = report_on([run, ranked], images, limit=2)
    assert [image.ranks for image in report.images] == [(None, row) for row in found.ranks[::15]]
    without, figures = (one.figures for one in report.runs)
    assert figures.retrieval == found.scores
    assert figures.intervals == without.intervals | found.intervals
    assert figures.settings == without.settings | found.settings
    assert without.retrieval is None


def test_thumbnails_are_small_and_a_photo_that_is_gone_says_why(run, images):
    Image.fromarray(np.zeros((900, 600, 3), np.uint8)).save(images[0].path)
    images[1].path.unlink()
    images[2].path.write_bytes(b"no photo")
    large, gone, broken, *others = report_on([run], images).images
    assert (large.thumbnail.width, large.thumbnail.height) == (SIDE * 2 // 3, SIDE)
    assert large.thumbnail.jpeg.startswith(b"\xff\xd8")
    assert gone.thumbnail is None
    assert gone.problem.endswith("no such file")
    assert "not a JPEG" in broken.problem
    assert all(image.thumbnail and not image.problem for image in others)


def test_the_first_of_the_n_best_is_the_best(run):
    options = run.options.model_copy(update={"beam_size": 4})
    assert n_best(options).n_best == 4
    assert n_best(options.model_copy(update={"temperature": 1.0})).n_best == 1
    assert n_best(options.model_copy(update={"beam_size": 50})).n_best == 20


def test_photos_are_counted_as_they_are_done(run, images):
    counts = []
    report_on([run, run], images, on_image=counts.append)
    assert sum(counts) == 2 * len(images)


@pytest.mark.parametrize("limit", [1, 2, 7, 30, 99])
def test_evenly_spaced(limit):
    rows = evenly_spaced(30, limit)
    assert len(rows) == min(30, limit)
    assert set(np.diff(rows).tolist()) <= {30 // limit, 30 // limit + 1, 1}
    assert set(rows) <= set(range(30))


def test_the_training_curve(tmp_path):
    assert read_epochs(tmp_path) == ()
    file = tmp_path / "metrics.jsonl"
    file.write_text(json.dumps(EPOCH) + "\n" + json.dumps({**EPOCH, "epoch": 2}) + "\n")
    assert [epoch.epoch for epoch in read_epochs(tmp_path)] == [1, 2]
    file.write_text(json.dumps(EPOCH) + "\n{}\n")
    with pytest.raises(OptionsError, match=r"metrics\.jsonl:2 is not what mrnn train writes; move"):
        read_epochs(tmp_path)
