from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.data.images import load_image
from mrnn.evaluation.comparison import compare
from mrnn.evaluation.evaluate import evaluate, references_of
from mrnn.evaluation.report.ranks import photo_ranks
from mrnn.evaluation.report.report import (
    SIDE,
    Run,
    evenly_spaced,
    make_report,
    n_best,
)
from mrnn.evaluation.retrieval import evaluate_retrieval
from mrnn.metrics.cider import cider_d
from mrnn.metrics.inventions import invented_things
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.tokenizer import EncodedCaptions


@pytest.fixture
def images(colours):
    return colours.images


@pytest.fixture
def run(images, checkpoint, colour_encoder):
    photos = [load_image(image.path) for image in images]
    features = np.stack([colour_encoder.encode(colour_encoder.preprocess(p)) for p in photos])
    decoding = checkpoint.config.decoding
    return Run("tiny", Captioner(checkpoint), features, decoding, RerankingOptions())


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
        assert len(found) == run.decoding.beam_size
        assert found[0].caption.text == report.runs[0].figures.captions[row]
        assert found[0].cider == pytest.approx(report.runs[0].figures.ciders[row])
        words = found[0].caption.text.split()
        assert found[0].invented == tuple(invented_things(words, images[row].words))


def test_two_runs_are_compared_on_all_photos(run, images):
    other = replace(run, name="other", features=run.features[::-1])  # of wrong photos
    report = report_on([run, other], images, limit=3)
    said = [found.figures.captions for found in report.runs]
    references = [image.captions for image in images]
    names = [image.name for image in images]
    assert report.comparison == compare(names, *said, references, with_meteor=False)
    assert all(len(image.captions) == 2 for image in report.images)


def test_figures_of_retrieval_are_those_of_evaluate(run, images, heads):
    checkpoint = run.captioner.checkpoint
    captions = EncodedCaptions.of(references_of(images), checkpoint.vocabulary)
    found = evaluate_retrieval(checkpoint.network, captions, run.features, heads=heads)
    ranked = replace(run, name="ranked", retrieval=found)
    report = report_on([run, ranked], images, limit=2)
    ranks = photo_ranks(found, captions.image_rows)
    assert [image.ranks for image in report.images] == [(None, row) for row in ranks[::15]]
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
    assert "not a photo" in broken.problem
    assert all(image.thumbnail and not image.problem for image in others)


def test_the_first_of_the_n_best_is_the_best():
    options = DecodingOptions(beam_size=4)
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
