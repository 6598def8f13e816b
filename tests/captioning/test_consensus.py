import json
import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import (
    Consensus,
    ConsensusOptions,
    TrainingCaptions,
    feature_space,
    rerank_results,
    self_scores,
)
from mrnn.data.dataset import CaptionedImage
from mrnn.data.features import extract_features, load_features
from mrnn.errors import CheckpointError, DataError, OptionsError
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import DocumentFrequencies, cider_d
from mrnn.metrics.sentence_similarity import Corpus
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.retrieval.nearest import Neighbours
from mrnn.tokenizer import tokenize
from tests.conftest import trained_model

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
    compared = list(TrainingCaptions(IMAGES).compare(HYPOTHESES, near, options))
    references = [[tokenize(caption) for caption in captions] for captions in CAPTIONS]
    frequencies = DocumentFrequencies.of(references)
    for sentences, nearest, found in zip(HYPOTHESES, near, compared, strict=True):
        pool = [(place, n) for place in nearest.places for n in range(2)]
        for words, score, row, similarity in zip(
            sentences, found.scores, found.closest, found.similarity, strict=True
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
    nobody, nothing = captions.compare([HYPOTHESES[0], []], [neighbours(), neighbours(0)], options)
    assert nobody.scores.tolist() == [0, 0, 0, 0]
    assert nobody.closest.tolist() == [-1] * 4
    assert nothing.scores.tolist() == []


def test_equals_keep_their_order():
    places = rerank_results(np.array([0.5, 2.0, 0.5, 2.0]), [["a"]] * 4)
    assert [(place.rank_before, place.rank, place.score) for place in places] == [
        (2, 1, 2.0), (4, 2, 2.0), (1, 3, 0.5), (3, 4, 0.5)
    ]  # fmt: skip
    assert rerank_results(np.array([]), []) == []
    wordless = rerank_results(np.zeros(3), [[], ["a"], []])
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


def features_of(data, checkpoint, split="dev"):
    return load_features(data, checkpoint.encoder).of(data.split(split))


@pytest.mark.parametrize("features", ["raw", "refined", "joint", None])
def test_neighbours_of_a_colour_are_of_that_colour(data, model_with_heads, features):
    checkpoint = Checkpoint.load(model_with_heads)
    train, dev = data.split("train"), data.split("dev")
    options = ConsensusOptions(features=features, neighbours=7)
    space = feature_space(data, train, checkpoint, options)
    found = space.nearest(features_of(data, checkpoint), 7)
    for image, nearest in zip(dev, found, strict=True):
        colour = image.name.rpartition("-")[2]
        assert [train[place].name.rpartition("-")[2] for place in nearest.places] == [colour] * 7


def test_a_model_with_heads_finds_neighbours_in_its_joint_embedding(data, model_with_heads):
    checkpoint = Checkpoint.load(model_with_heads)
    consensus = Consensus.load(data.folder, checkpoint)
    assert consensus.settings(1, reranked=True)["consensus_features"] == "joint"
    train, dev = (
        checkpoint.heads.embed_image(features_of(data, checkpoint, split))
        for split in ("train", "dev")
    )
    space = feature_space(data, data.split("train"), checkpoint, consensus.options)
    nearest = space.nearest(features_of(data, checkpoint), 3)
    for found, similarity in zip(nearest, dev @ train.T, strict=True):
        assert similarity[found.places] == pytest.approx(np.sort(similarity)[:-4:-1], abs=1e-5)
    asked = Consensus.load(data.folder, checkpoint, ConsensusOptions(features="raw"))
    assert asked.settings(1, reranked=True)["consensus_features"] == "raw"


def test_joint_features_need_a_model_with_heads(data, checkpoint):
    plain = Consensus.load(data.folder, checkpoint)
    assert plain.settings(1, reranked=True)["consensus_features"] == "raw"
    options = ConsensusOptions(features="joint")
    with pytest.raises(CheckpointError, match=r"no joint embedding .* run mrnn train-heads, or"):
        Consensus.load(data.folder, checkpoint, options)


def test_a_model_that_sees_no_image_has_raw_neighbours(data, vocabulary, colour_encoder, tmp_path):
    trained_model(vocabulary, colour_encoder, sees_image=False).save(tmp_path / "blind")
    checkpoint = Checkpoint.load(tmp_path / "blind")
    refined, raw = (
        feature_space(data, data.split("train"), checkpoint, ConsensusOptions(features=features))
        for features in ("refined", "raw")
    )
    matrix = features_of(data, checkpoint)
    for found, expected in zip(refined.nearest(matrix, 5), raw.nearest(matrix, 5), strict=True):
        assert found.places.tolist() == expected.places.tolist()


def test_settings_tell_what_counts():
    alone = Consensus(ConsensusOptions(by="bleu", model_weight=0.25))
    assert alone.settings(14, reranked=True) == {
        "consensus": "self", "consensus_by": "bleu", "consensus_hypotheses": 14,
        "consensus_model_weight": 0.25,
    }  # fmt: skip
    assert alone.settings(14, reranked=False)["consensus_model_weight"] == 0


def test_settings_tell_what_counts_with_training_captions(data, checkpoint):
    consensus = Consensus.load(data.folder, checkpoint)
    assert consensus.settings(10, reranked=True) == {
        "consensus": str(data.folder), "consensus_by": "cider", "consensus_neighbours": 60,
        "consensus_references": 125, "consensus_features": "raw", "consensus_distance": "cosine",
        "consensus_hypotheses": 10, "consensus_model_weight": 0.5, "consensus_bleu_weight": 3.0,
    }  # fmt: skip
    idle = {"consensus_model_weight", "consensus_bleu_weight"}
    assert {consensus.settings(10, reranked=False)[key] for key in idle} == {0}
    by_bleu = Consensus.load(data.folder, checkpoint, ConsensusOptions(by="bleu"))
    assert by_bleu.settings(10, reranked=True)["consensus_bleu_weight"] == 0


def test_the_weight_of_the_model_is_of_likelihood_and_predicted_cider(data, model_with_heads):
    checkpoint = Checkpoint.load(model_with_heads)
    features = features_of(data, checkpoint)
    options = DecodingOptions(beam_size=12, n_best=12, max_length=4)

    def scores(model_weight, predicted_cider_weight):
        consensus = Consensus(ConsensusOptions(model_weight=model_weight))
        reranking = RerankingOptions(
            similarity_weight=1e-6, predicted_cider_weight=predicted_cider_weight
        )
        captioner = Captioner(checkpoint, None, consensus)
        return [
            {caption: caption.consensus.score for caption in own}
            for own in captioner.describe(features, options, reranking)
        ]

    def by_text(found):
        return [{c.text: score for c, score in own.items()} for own in found]

    none, one, both, half = scores(0, 40), scores(1, 0), scores(1, 40), scores(0.5, 40)
    assert by_text(none) == by_text(scores(0, 0))
    for own in none:
        assert [caption.consensus.rank for caption in own] == list(range(1, 13))
    for feature, *own, captions in zip(
        features, *map(by_text, (none, one, both, half)), one, strict=True
    ):
        for caption in captions:
            without, likelihood, whole, halved = (scored[caption.text] for scored in own)
            ids = checkpoint.vocabulary.encode(word.word for word in caption.words)
            ((cider,),) = checkpoint.heads.predicted_cider([[ids]], feature[None])
            nats = caption.log_probability / (len(ids) + 1) ** options.length_penalty
            assert likelihood - without == pytest.approx(nats, abs=1e-3)
            assert whole - likelihood == pytest.approx(40 * cider, abs=40 * 1e-4)
            assert halved - without == pytest.approx((whole - without) / 2, abs=1e-6)


def test_without_reranking_the_model_has_no_weight(data, model_with_heads):
    checkpoint = Checkpoint.load(model_with_heads)
    features = features_of(data, checkpoint)
    found = [
        Captioner(checkpoint, None, Consensus(ConsensusOptions(model_weight=weight))).describe(
            features, DecodingOptions(max_length=4), RerankingOptions()
        )
        for weight in (0, 2)
    ]
    assert found[0] == found[1]


def test_bleu_counts_beside_cider_where_reranking_takes_effect(data, checkpoint):
    features = features_of(data, checkpoint)
    sentences = [["the", "wall", "is", "red"], ["a", "blue", "wall"], ["the", "wall", "is", "blue"]]
    hypotheses, nothing = [sentences] * len(features), [np.zeros(3)] * len(features)

    def scores(reranking_scores, **options):
        asked = ConsensusOptions(neighbours=7, **options)
        consensus = Consensus.load(data.folder, checkpoint, asked)
        return np.array([
            [each.score for each in sorted(found, key=lambda place: place.rank_before)]
            for found in consensus.rank(hypotheses, features, reranking_scores)
        ])  # fmt: skip

    alone, bleu = scores(None), scores(None, by="bleu")
    assert bleu.max() > 0.4
    np.testing.assert_allclose(scores(nothing, bleu_weight=0), alone)
    np.testing.assert_allclose(scores(nothing, bleu_weight=3), alone + 3 * bleu)
    np.testing.assert_allclose(scores(nothing, by="bleu", bleu_weight=3), bleu)
    own = [np.array([0.5, -1, 2])] * len(features)
    np.testing.assert_allclose(scores(own, bleu_weight=0), alone + own)


def test_a_captioner_says_what_its_neighbours_say(data, checkpoint, colour_encoder):
    options = ConsensusOptions(neighbours=7, hypotheses=30)
    plain = Captioner(checkpoint, colour_encoder)
    consensus = Consensus.load(data.folder, checkpoint, options)
    captioner = Captioner(checkpoint, colour_encoder, consensus)
    paths = [image.path for image in data.split("dev")]
    search = DecodingOptions(n_best=2, max_length=4)
    widened = plain.caption(paths, search.model_copy(update={"n_best": 30}))
    results = captioner.caption(paths, search)
    for path, result, before in zip(paths, results, widened, strict=True):
        assert [caption.consensus.rank for caption in result.captions] == [1, 2]
        for caption in result.captions:
            there = before.captions[caption.consensus.rank_before - 1]
            assert caption.model_copy(update={"consensus": None}) == there
        assert path.stem.rpartition("-")[2] in result.captions[0].text
        assert captioner.caption(path, search) == result


def test_a_captioner_by_its_own_captions_needs_no_data(checkpoint, colour_encoder, data):
    captioner = Captioner(checkpoint, colour_encoder, Consensus.load("self", checkpoint))
    plain = Captioner(checkpoint, colour_encoder)
    paths = [image.path for image in data.split("dev")]
    ten = plain.caption(paths, DecodingOptions(n_best=10, max_length=6))
    for result, before in zip(captioner.caption(paths), ten, strict=True):
        (best,) = result.captions
        words = [caption.text.split() for caption in before.captions]
        (scores,) = self_scores([words])
        assert best.consensus.score == pytest.approx(scores.max())
        assert best.text == before.captions[int(scores.argmax())].text


def test_load_takes_where_the_consensus_is(data, model, tmp_path):
    assert Captioner.load(model).consensus is None
    assert Captioner.load(model, "self").consensus.source == "self"
    assert Captioner.load(model, data.folder).consensus.source == str(data.folder)
    with pytest.raises(DataError, match="not a dataset folder"):
        Captioner.load(model, tmp_path / "nowhere")


def test_load_takes_how_consensus_is_found(model_with_heads, data):
    options = ConsensusOptions(by="bleu", neighbours=3)
    for source in ("self", data.folder):
        found = Captioner.load(model_with_heads, source, consensus_options=options).consensus
        assert (found.options.by, found.options.neighbours) == ("bleu", 3)
    message = "^consensus_options without consensus; give 'self' or a folder$"
    with pytest.raises(OptionsError, match=message):
        Captioner.load(model_with_heads, consensus_options=options)


def test_few_training_photos_are_noted(data, checkpoint):
    assert Consensus.load("self", checkpoint).notes == []
    few = Consensus.load(data.folder, checkpoint, ConsensusOptions(neighbours=24))
    assert few.notes == []
    assert Consensus.load(data.folder, checkpoint).notes == [
        "consensus: there are 24 training photos, fewer than the 60 neighbours asked for, so all "
        "of them count"
    ]


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


def test_a_captioner_takes_options_of_consensus(model):
    options = ConsensusOptions(by="bleu", hypotheses=12)
    for load in (Captioner.load, Captioner.for_features):
        captioner = load(model, "self", consensus_options=options)
        assert captioner.consensus.options == options
