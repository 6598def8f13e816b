"""Measures on captions that people wrote. They need MRNN_DATA, the folder that holds mrnn-cr/,
flickr8k/ and metric-fixtures/; those beside the reference scorer need it and Java too.
"""

import json
import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mrnn.data.caption_reader import match_files
from mrnn.data.readers.flickr import read_flickr
from mrnn.errors import MeasureError
from mrnn.evaluation.captions import CaptionStatistics, score
from mrnn.metrics.meteor import Meteor, find_jar
from mrnn.tokenizer import tokenize

pytestmark = pytest.mark.slow
SEEDS = 20


def data(name):
    folder = os.environ.get("MRNN_DATA")
    if not folder:
        pytest.skip("MRNN_DATA, the folder of real data, is not set")
    path = Path(folder, name)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture
def reference_scorer():
    """The reference scorer's package, with Java to run it."""
    if not shutil.which("java"):
        pytest.skip("needs Java")
    return pytest.importorskip("pycocoevalcap", reason="needs pip install 'mrnn[meteor]'")


def authors():
    """Ten hypotheses and the references of each of the authors' 1,000 images, as words."""
    images = json.loads(data("mrnn-cr/crval_beam10.json").read_text(encoding="utf-8"))
    hypotheses = [[tokenize(text) for text in image["hypotheses"]] for image in images]
    return hypotheses, [[tokenize(text) for text in image["references"]] for image in images]


def bleu_4_and_cider(hypotheses, references):
    scores = CaptionStatistics.of(hypotheses, references).of_corpus()
    return scores["bleu_4"], scores["cider"]


BY_RANK = [  # BLEU-4 and CIDEr-D of each of the ten, first to last, by another implementation
    (0.272, 0.833), (0.266, 0.812), (0.253, 0.802), (0.259, 0.801), (0.273, 0.835),
    (0.262, 0.790), (0.273, 0.816), (0.250, 0.773), (0.253, 0.783), (0.243, 0.749),
]  # fmt: skip


def test_hypotheses_of_the_authors_by_rank():
    hypotheses, references = authors()
    for rank, (bleu, cider) in enumerate(BY_RANK):
        ours = bleu_4_and_cider([ten[rank] for ten in hypotheses], references)
        assert ours[0] == pytest.approx(bleu, abs=0.003)
        assert ours[1] == pytest.approx(cider, abs=0.01)


def test_one_random_draw_of_the_authors_hypotheses():
    """Of the other implementation's figures, .266 and .808: one draw, by NumPy's seed 0."""
    hypotheses, references = authors()
    places = np.random.RandomState(0).randint(10, size=len(hypotheses))
    drawn = [ten[place] for ten, place in zip(hypotheses, places, strict=True)]
    assert bleu_4_and_cider(drawn, references) == pytest.approx((0.266, 0.808), abs=0.0006)


def test_random_hypotheses_of_the_authors_are_as_good_as_the_mean_rank():
    """The draw above is a lucky one."""
    hypotheses, references = authors()
    generators = [random.Random(seed) for seed in range(SEEDS)]
    scores = [
        bleu_4_and_cider([generator.choice(ten) for ten in hypotheses], references)
        for generator in generators
    ]
    bleu, cider = np.mean(scores, axis=0)
    assert (bleu, cider) == pytest.approx((0.261, 0.802), abs=0.0006)
    assert bleu == pytest.approx(np.mean([bleu for bleu, _ in BY_RANK]), abs=0.003)
    assert cider == pytest.approx(np.mean([cider for _, cider in BY_RANK]), abs=0.01)


def test_another_packages_fixture():
    folder = data("metric-fixtures")
    expected = json.loads((folder / "nlgeval_expected.json").read_text())
    references = [folder / f"nlgeval_ref{n}.txt" for n in (1, 2)]
    matched = match_files([folder / "nlgeval_hyp.txt"], references)
    words = [[tokenize(text) for text in texts] for texts in matched.references]
    said = [tokenize(text) for text in matched.systems[0]]
    scores = score(said, words, resamples=5)[0].generation
    names = {"Bleu_1": "bleu_1", "Bleu_2": "bleu_2", "Bleu_3": "bleu_3", "Bleu_4": "bleu_4"}
    names |= {"METEOR": "meteor", "ROUGE_L": "rouge_l", "CIDEr": "cider"}
    for theirs, ours in names.items():
        if ours != "meteor" or scores.meteor is not None:
            assert getattr(scores, ours) == pytest.approx(expected[theirs], abs=1e-6)


def test_from_raw_text_equal_to_the_reference_scorer(reference_scorer):
    """Each image's first caption against its others; captions split otherwise are listed."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    folder = data("flickr8k")
    images = [i for i in read_flickr(folder, folder / "images") if i.split == "dev"]
    assert len(images) == 1000
    texts = {n: image.captions for n, image in enumerate(images)}
    words = PTBTokenizer().tokenize({n: [{"caption": c} for c in t] for n, t in texts.items()})
    pairs = [pair for n, t in texts.items() for pair in zip(t, words[n], strict=True)]
    otherwise = [(text, them) for text, them in pairs if " ".join(tokenize(text)) != them]
    lines = [f"{text!r}\n  {them}\n  {' '.join(tokenize(text))}" for text, them in otherwise]
    listed = "\n".join([f"{len(otherwise)} of {len(pairs)} are split otherwise", *lines])
    print(listed)  # noqa: T201 (pytest -s shows it)
    assert len(otherwise) <= len(pairs) / 1000, listed

    theirs = {n: w[1:] for n, w in words.items()}, {n: w[:1] for n, w in words.items()}
    bleu, bleus = Bleu(4).compute_score(*theirs, verbose=0)
    rouge, rouges = Rouge().compute_score(*theirs)
    cider, ciders = Cider().compute_score(*theirs)
    hypotheses = [tokenize(captions[0]) for captions in texts.values()]
    references = [[tokenize(text) for text in captions[1:]] for captions in texts.values()]
    statistics = CaptionStatistics.of(hypotheses, references)
    ours = statistics.of_corpus()
    assert [ours[f"bleu_{n}"] for n in range(1, 5)] == pytest.approx(bleu, abs=1e-4)
    assert (ours["rouge_l"], ours["cider"]) == pytest.approx((rouge, cider), abs=1e-4)

    same = [
        " ".join(words) == words_[0]
        for words, words_ in zip(hypotheses, words.values(), strict=True)
    ]
    same &= np.array([
        [" ".join(sentence) for sentence in image] == list(reference)
        for image, reference in zip(references, theirs[0].values(), strict=True)
    ])  # fmt: skip
    assert np.mean(same) > 0.99
    images_ = statistics.of_images()
    np.testing.assert_allclose(images_["rouge_l"][same], rouges[same], rtol=0, atol=1e-9)
    np.testing.assert_allclose(images_["cider"][same], ciders[same], rtol=0, atol=1e-3)
    np.testing.assert_allclose(images_["bleu_4"][same], np.array(bleus[3])[same], rtol=0, atol=1e-9)


# The reference scorer leaves its pipes open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_meteor_of_real_captions_equals_the_reference_scorer(reference_scorer):
    from pycocoevalcap.meteor.meteor import Meteor as Reference

    hypotheses, references = authors()
    hypotheses, references = [ten[0] for ten in hypotheses[:100]], references[:100]
    joined = {n: [" ".join(words)] for n, words in enumerate(hypotheses)}
    wrote = {n: [" ".join(words) for words in image] for n, image in enumerate(references)}
    corpus, scores = Reference().compute_score(wrote, joined)
    try:
        find_jar()
    except MeasureError as error:
        pytest.fail(str(error))
    with closing(Meteor()) as program:
        rows = program.statistics(hypotheses, references)
    statistics = CaptionStatistics.of(hypotheses, references, meteor=rows)
    assert statistics.of_corpus()["meteor"] == pytest.approx(corpus, rel=0, abs=1e-9)
    np.testing.assert_allclose(statistics.of_images()["meteor"], scores, rtol=0, atol=1e-9)
