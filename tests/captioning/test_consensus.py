import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import (
    Consensus,
    ConsensusOptions,
    TrainingCaptions,
    feature_space,
    self_scores,
    standings,
)
from mrnn.data.dataset import CaptionedImage
from mrnn.data.features import extract_features, load_features
from mrnn.errors import CheckpointError, DataError
from mrnn.evaluation.evaluate import evaluate
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.sentence_similarity import Corpus
from mrnn.model.config import DecodingOptions
from mrnn.retrieval.nearest import Neighbours
from mrnn.retrieval.ranking import Ranker
from mrnn.tokenizer import tokenize

CAPTIONS = [
    ["A dog runs in the snow .", "The brown dog is running"],
    ["A dog jumps over a log", "a dog and a log in the snow ."],
    ["Two men sit on a bench", "Men on a bench in the park ."],
]
IMAGES = [
    CaptionedImage(f"{place}.jpg", Path(f"{place}.jpg"), "train", tuple(captions))
    for place, captions in enumerate(CAPTIONS)
]
HYPOTHESES = [
    [words.split() for words in ("two men in the snow", "a dog runs in the park", "a dog", "")],
    [words.split() for words in ("a man", "men on a bench", "men on a bench", "a log in the snow")],
]


def neighbours(*places):
    return Neighbours(np.array(places, dtype=np.int64), None)


# Scores


@pytest.mark.parametrize("counted", [1, 3, 4, 100])
def test_scores_are_means_of_the_highest_similarities(counted):
    options = ConsensusOptions(references=counted)
    near = [neighbours(1, 0), neighbours(2, 1)]
    opinions = list(TrainingCaptions(IMAGES).judge(HYPOTHESES, near, options))
    references = [[tokenize(caption) for caption in captions] for captions in CAPTIONS]
    frequencies = DocumentFrequencies.of(references)
    for sentences, nearest, opinion in zip(HYPOTHESES, near, opinions, strict=True):
        pool = [(place, n) for place in nearest.places for n in range(2)]
        for words, score, row, similarity in zip(
            sentences, opinion.scores, opinion.closest, opinion.similarity, strict=True
        ):
            pairs = [cider_d([words], [[references[i][n]]], frequencies)[0] for i, n in pool]
            assert score == pytest.approx(np.mean(sorted(pairs)[-counted:]))
            assert similarity == pytest.approx(max(pairs))
            place, n = pool[int(np.argmax(pairs))]
            assert row == 2 * place + n


def test_bleu_and_cider_have_the_references_of_the_authors():
    assert ConsensusOptions().counted == 125
    assert ConsensusOptions(by="bleu").counted == 175
    assert ConsensusOptions(by="bleu", references=9).counted == 9


def test_without_neighbours_or_hypotheses_nothing_is_said():
    captions = TrainingCaptions(IMAGES)
    options = ConsensusOptions()
    nobody, nothing = captions.judge([HYPOTHESES[0], []], [neighbours(), neighbours(0)], options)
    assert nobody.scores.tolist() == [0, 0, 0, 0]
    assert nobody.closest.tolist() == [-1] * 4
    assert nothing.scores.tolist() == []


def test_equals_keep_their_order():
    places = standings(np.array([0.5, 2.0, 0.5, 2.0]), [["a"]] * 4)
    assert [(place.rank_before, place.rank, place.score) for place in places] == [
        (2, 1, 2.0), (4, 2, 2.0), (1, 3, 0.5), (3, 4, 0.5)
    ]  # fmt: skip
    assert standings(np.array([]), []) == []
    wordless = standings(np.zeros(3), [[], ["a"], []])
    assert [place.rank_before for place in wordless] == [2, 1, 3]


@pytest.mark.parametrize("by", ["cider", "bleu"])
def test_each_other_is_the_mean_similarity_to_the_other_sentences(by):
    scores = self_scores(HYPOTHESES, by, weighted=True)
    distinct = [list(dict.fromkeys(map(tuple, sentences))) for sentences in HYPOTHESES]
    corpus = Corpus(distinct)
    for image, sentences in enumerate(HYPOTHESES):
        rows = [corpus.rows_of([image])]
        (matrix,) = corpus.compare([distinct[image]], rows, by)
        for words, score in zip(sentences, scores[image], strict=True):
            place = distinct[image].index(tuple(words))
            others = [matrix[place, other] for other in range(len(matrix)) if other != place]
            assert score == pytest.approx(np.mean(others))
    assert scores[1][1] == scores[1][2]  # a sentence does not gain by being there twice


def test_each_other_of_few():
    alone, twice, none, empty = self_scores([[["a"]], [["a", "b"]] * 2, [], [[], ["a"]]])
    assert alone.tolist() == [0]
    assert twice.tolist() == [0, 0]
    assert none.tolist() == []
    assert empty.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"neighbours": 0}, "neighbours"), ({"by": "meteor"}, "by"), ({"k": 3}, "k")],
)
def test_impossible_options_are_refused(change, problem):
    with pytest.raises(ValidationError, match=rf"\n{problem}\n"):
        ConsensusOptions(**change)


# A captioner


@pytest.fixture
def data(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


@pytest.mark.parametrize("features", ["raw", "refined", "joint", None])
def test_neighbours_of_a_colour_are_of_that_colour(data, checkpoint, ranking_run, features):
    ranker = Ranker.load(ranking_run, checkpoint)
    train, dev = data.split("train"), data.split("dev")
    options = ConsensusOptions(features=features, neighbours=7)
    space = feature_space(data, train, checkpoint, options, ranker)
    matrix = load_features(data, checkpoint.encoder).of(dev)
    for image, nearest in zip(dev, space.nearest(matrix, 7), strict=True):
        colour = image.name.rpartition("-")[2]
        assert [train[place].name.rpartition("-")[2] for place in nearest.places] == [colour] * 7


def test_a_model_that_ranks_finds_neighbours_in_its_joint_space(data, ranking_run):
    captioner = Captioner.load(ranking_run, data.folder)
    assert captioner.consensus.settings(1, judged=True)["consensus_features"] == "joint"
    matrix = load_features(data, captioner.checkpoint.encoder).of(data.split("dev"))
    _, space = captioner.consensus._training
    joint = captioner.ranker.see(load_features(data, captioner.checkpoint.encoder).of(
        data.split("train")))  # fmt: skip
    likeness = captioner.ranker.see(matrix) @ joint.T
    for nearest, own in zip(space.nearest(matrix, 3), likeness, strict=True):
        assert own[nearest.places] == pytest.approx(np.sort(own)[:-4:-1], abs=1e-5)
    options = ConsensusOptions(features="raw")
    asked = Consensus.load(data.folder, captioner.checkpoint, options, captioner.ranker)
    assert asked.settings(1, judged=True)["consensus_features"] == "raw"


def test_all_of_the_beam_is_ranked_and_said_to_be(data, ranking_run):
    captioner = Captioner.load(ranking_run, "self")
    dev = data.split("dev")
    matrix = load_features(data, captioner.checkpoint.encoder).of(dev)
    options = DecodingOptions(beam_size=14, maximum_words=4)
    for change, count, share in (
        ({}, 14, 0),
        ({"likeness": 1.0}, 14, 0.5),
        ({"beam_size": 3}, 10, 0),
        ({"temperature": 1.0}, 10, 0),
    ):
        asked = options.model_copy(update=change)
        report = evaluate(captioner, dev, matrix, tasks=("generation",), options=asked)
        assert report.settings["consensus_hypotheses"] == count
        assert report.settings["consensus_share"] == share


def test_a_share_of_likelihood_and_expected_cider_counts_where_what_fits_does(data, ranking_run):
    loaded = Captioner.load(ranking_run)
    features = load_features(data, loaded.checkpoint.encoder).of(data.split("dev"))
    batch = torch.from_numpy(features.astype(np.float32))
    options = DecodingOptions(beam_size=12, n_best=12, maximum_words=4, likeness=1e-6)

    def scores(share, likeness, expected=0.0):
        others = Consensus(ConsensusOptions(share=share))
        captioner = Captioner(loaded.checkpoint, None, others, loaded.ranker)
        asked = options.model_copy(update={"likeness": likeness, "expected_cider": expected})
        found = [caption for own in captioner.describe(batch, asked) for caption in own]
        assert [caption.consensus.rank for caption in found[:12]] == list(range(1, 13))
        return [(each, each.consensus.score) for each in found]

    def by_words(found):
        return {(c.text, c.log_probability, len(c.words)): score for c, score in found}

    without, counted = (by_words(scores(weight, 1e-6)) for weight in (0.0, 2.0))
    assert without.keys() == counted.keys()
    assert len(without) > 30
    for caption, score in counted.items():
        own = caption[1] / (caption[2] + 1) ** options.length_exponent
        assert score - without[caption] == pytest.approx(2 * own, abs=1e-3)
    assert by_words(scores(2.0, 0.0)) == by_words(scores(0.0, 0.0))
    half, whole = (by_words(scores(share, 1e-6, 40.0)) for share in (0.5, 1.0))
    assert by_words(scores(0.0, 1e-6, 40.0)) == without
    gained = [whole[caption] - without[caption] for caption in whole]
    assert [half[caption] - without[caption] for caption in whole] == pytest.approx(
        [gain / 2 for gain in gained], abs=1e-6
    )
    likelihoods = [(counted[caption] - without[caption]) / 2 for caption in whole]
    assert max(np.array(gained) - likelihoods) > 1  # what is expected counts too


def test_bleu_counts_beside_cider_where_what_fits_does(data, checkpoint):
    features = load_features(data, checkpoint.encoder).of(data.split("dev"))
    sentences = [["the", "wall", "is", "red"], ["a", "blue", "wall"], ["the", "wall", "is", "blue"]]
    hypotheses, nothing = [sentences] * len(features), [np.zeros(3)] * len(features)

    def scores(judged, **options):
        asked = ConsensusOptions(neighbours=7, **options)
        consensus = Consensus.load(data.folder, checkpoint, asked)
        return np.array([
            [each.score for each in sorted(found, key=lambda place: place.rank_before)]
            for found in consensus.rank(hypotheses, features, judged)
        ])  # fmt: skip

    alone, bleu = scores(None), scores(None, by="bleu")
    assert bleu.max() > 0.4
    np.testing.assert_allclose(scores(nothing, bleu=0), alone)
    np.testing.assert_allclose(scores(nothing, bleu=3), alone + 3 * bleu)
    np.testing.assert_allclose(scores(nothing, by="bleu", bleu=3), bleu)


def test_joint_features_take_a_model_that_ranks(data, checkpoint):
    plain = Consensus.load(data.folder, checkpoint)
    assert plain.settings(1, judged=True)["consensus_features"] == "raw"
    options = ConsensusOptions(features="joint")
    with pytest.raises(CheckpointError, match=r"no joint space .* run mrnn train-ranking, or take"):
        Consensus.load(data.folder, checkpoint, options)


def test_a_captioner_says_what_its_neighbours_say(data, checkpoint, colour_encoder):
    options = ConsensusOptions(neighbours=7, hypotheses=30)
    plain = Captioner(checkpoint, colour_encoder)
    ranker = Consensus.load(data.folder, checkpoint, options)
    captioner = Captioner(checkpoint, colour_encoder, ranker)
    paths = [image.path for image in data.split("dev")]
    search = DecodingOptions(n_best=2, maximum_words=4)
    widened = plain.caption(paths, search.model_copy(update={"n_best": 30}))
    results = captioner.caption(paths, search)
    train = data.split("train")
    for path, result, before in zip(paths, results, widened, strict=True):
        colour = path.stem.rpartition("-")[2]
        same = [image for image in train if colour in image.name]
        assert len(same) == 8
        assert [caption.consensus.rank for caption in result.captions] == [1, 2]
        for caption in result.captions:
            there = before.captions[caption.consensus.rank_before - 1]
            assert caption.model_copy(update={"consensus": None}) == there
        assert colour in result.captions[0].text
        assert captioner.caption(path, search).captions[0].text == result.captions[0].text


def test_a_captioner_by_its_own_captions_needs_no_data(checkpoint, colour_encoder, data):
    captioner = Captioner(checkpoint, colour_encoder, Consensus.load("self", checkpoint))
    plain = Captioner(checkpoint, colour_encoder)
    paths = [image.path for image in data.split("dev")]
    ten = plain.caption(paths, DecodingOptions(n_best=10, maximum_words=6))
    for result, before in zip(captioner.caption(paths), ten, strict=True):
        (best,) = result.captions
        words = [caption.text.split() for caption in before.captions]
        (scores,) = self_scores([words])
        assert best.consensus.score == pytest.approx(scores.max())
        assert best.text == before.captions[int(scores.argmax())].text


def test_load_takes_where_the_consensus_is(checkpoint, colour_encoder, data, tmp_path):
    checkpoint.save(tmp_path / "run")
    assert Captioner.load(tmp_path / "run").consensus is None
    assert Captioner.load(tmp_path / "run", "self").consensus.source == "self"
    loaded = Captioner.load(tmp_path / "run", data.folder)
    assert loaded.consensus.source == str(data.folder)
    with pytest.raises(DataError, match="not a dataset folder"):
        Captioner.load(tmp_path / "run", tmp_path / "nowhere")


def test_a_model_that_sees_no_image_has_raw_neighbours(data, checkpoint):
    blind = checkpoint.model.config.model_copy(update={"sees_image": False})
    checkpoint.model.config = blind
    space = feature_space(data, data.split("train"), checkpoint, ConsensusOptions())
    raw = feature_space(data, data.split("train"), checkpoint, ConsensusOptions(features="raw"))
    matrix = load_features(data, checkpoint.encoder).of(data.split("dev"))
    for found, expected in zip(space.nearest(matrix, 5), raw.nearest(matrix, 5), strict=True):
        assert found.places.tolist() == expected.places.tolist()


def test_an_evaluation_tells_its_consensus(data, checkpoint, colour_encoder):
    dev = data.split("dev")
    matrix = load_features(data, checkpoint.encoder).of(dev)
    plain = evaluate(Captioner(checkpoint, colour_encoder), dev, matrix)
    for source in ("self", data.folder):
        ranker = Consensus.load(source, checkpoint)
        report = evaluate(Captioner(checkpoint, colour_encoder, ranker), dev, matrix)
        assert report.settings.keys() > plain.settings.keys()
        assert report.settings["consensus"] == str(source)
        assert report.settings["consensus_by"] == "cider"
        assert report.perplexity == plain.perplexity
        assert report.settings.get("consensus_bleu", 0) == report.settings["consensus_share"] == 0
        few = [note for note in report.notes if "fewer than the 60 neighbours asked for" in note]
        assert len(few) == (source != "self")
    assert report.settings["consensus_references"] == 125
    assert report.generation.cider > plain.generation.cider


# The authors' own hypotheses


@pytest.fixture(scope="module")
def authors():
    """Their ten hypotheses and the references of each of a thousand COCO images."""
    folder = os.environ.get("MRNN_DATA")
    file = Path(folder or ".") / "mrnn-cr" / "crval_beam10.json"
    if not folder or not file.exists():
        pytest.skip("needs mrnn-cr/crval_beam10.json in the folder MRNN_DATA")
    images = json.loads(file.read_text(encoding="utf-8"))
    assert len(images) == 1000
    return [
        [[tokenize(sentence) for sentence in image[key]] for image in images]
        for key in ("hypotheses", "references")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "bleu_4", "cider"),
    [
        ("first", 0.272, 0.833),
        ("each other", 0.289, 0.883),
        ("oracle by cider", 0.432, 1.277),
        ("oracle by bleu", 0.444, 1.237),
    ],
)
def test_figures_on_the_authors_hypotheses(authors, how, bleu_4, cider):
    hypotheses, references = authors
    if how == "first":
        scores = [np.array([1.0])] * len(hypotheses)
    elif how == "each other":
        scores = self_scores(hypotheses, weighted=True)
    else:
        corpus = Corpus(references)
        rows = [corpus.rows_of([place]) for place in range(len(references))]
        compared = corpus.compare(hypotheses, rows, how.rpartition(" ")[2])
        scores = [matrix.mean(axis=1) for matrix in compared]
    chosen = [own[int(s.argmax())] for own, s in zip(hypotheses, scores, strict=True)]
    assert corpus_bleu(chosen, references)[3] == pytest.approx(bleu_4, abs=0.004)
    assert cider_d(chosen, references).mean() == pytest.approx(cider, abs=0.01)
