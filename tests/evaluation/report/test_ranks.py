import numpy as np
import pytest

from mrnn.data.features import extract_features, load_features
from mrnn.evaluation.evaluate import references_of
from mrnn.evaluation.report.ranks import rank_split
from mrnn.evaluation.retrieval import evaluate_retrieval, fast_ranking
from mrnn.metrics.recall import recall_scores
from mrnn.retrieval.ranking import Ranker
from mrnn.tokenizer import EncodedCaptions


@pytest.fixture
def ranker(ranking_run, checkpoint):
    return Ranker.load(ranking_run, checkpoint)


def test_figures_and_ranks_are_those_of_evaluate(colours, colour_encoder, checkpoint, ranker):
    extract_features(colours, colour_encoder)
    features = load_features(colours, colour_encoder.identity).of(colours.images)
    found = rank_split(ranker, colours.images, features)
    captions = EncodedCaptions.of(references_of(colours.images), checkpoint.vocabulary)
    scores, intervals = evaluate_retrieval(fast_ranking(ranker), captions, features)
    assert (found.scores, found.intervals) == (scores, intervals)
    assert 1 < scores.sentence_to_image.mean_rank < len(colours.images)
    sentences = np.array([ranks.sentence for ranks in found.ranks])
    photos = np.array([rank for ranks in found.ranks for rank in ranks.photos])
    assert recall_scores(sentences) == scores.image_to_sentence
    assert recall_scores(photos) == scores.sentence_to_image
    assert [len(ranks.photos) for ranks in found.ranks] == [
        len(image.captions) for image in colours.images
    ]


def test_settings_say_how_it_was_ranked(colours, colour_encoder, ranker):
    extract_features(colours, colour_encoder)
    images = colours.split("dev")
    features = load_features(colours, colour_encoder.identity).of(images)
    assert rank_split(ranker, images, features).settings == {
        "ranking": "fast",
        "likelihoods": "of 15 candidates a query",
        "marginal_images": 5,  # the ranker has no more
        "candidate_images": len(images),
        "candidate_sentences": sum(len(image.captions) for image in images),
        "equal_scores": "by index",
        "ranking_precision": "float32",
    }
