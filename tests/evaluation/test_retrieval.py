from functools import partial

import numpy as np
import pytest
import torch

from mrnn.evaluation.retrieval import (
    RankingPlan,
    evaluate_retrieval,
    exact_ranking,
    fast_ranking,
)
from mrnn.metrics.recall import (
    image_to_sentence_ranks,
    recall_scores,
    sentence_to_image_ranks,
)
from mrnn.model.cider_predictor import ExpectedCiderOptions, fit_expected_cider
from mrnn.model.heads import Weights
from mrnn.model.joint_embedding import JointSpace
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.retrieval.ranking import Ranker, rank_exactly, rank_fast
from mrnn.tokenizer import EncodedCaptions


@pytest.fixture
def world(checkpoint):
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    space = JointSpace(len(checkpoint.vocabulary), image_size=7, size=4).eval()
    sampled = random.normal(size=(5, 7)).astype(np.float32)
    weights = Weights(sentence_to_image=2, image_to_sentence=3)
    some = EncodedCaptions.of([[["a", "red", "wall"]]] * 5, checkpoint.vocabulary)
    expected = fit_expected_cider(sampled, some, ExpectedCiderOptions())
    ranker = Ranker(checkpoint, space, sampled, weights, expected)
    counts = [1, 2, 5, 1, 3, 2, 1, 4]
    words = [
        [random.choice(["a", "red", "wall", "is"], 3).tolist() for _ in range(n)] for n in counts
    ]
    captions = EncodedCaptions.of(words, checkpoint.vocabulary)
    return ranker, captions, random.normal(size=(8, 7)).astype(np.float32)


def figures_by_hand(world, rankings):
    _, captions, _ = world
    own = captions.image_rows
    plain = rankings.image_to_sentence_without_marginal
    ranks = [
        image_to_sentence_ranks(rankings.image_to_sentence, own),
        sentence_to_image_ranks(rankings.sentence_to_image, own),
        image_to_sentence_ranks(plain, own),
    ]
    return [recall_scores(r).model_dump() for r in ranks]


def test_exact_figures_are_those_of_the_parts(world):
    ranker, captions, features = world
    model, sampled = ranker.checkpoint.model, ranker.sampled[:3]
    found, _ = evaluate_retrieval(exact_ranking(model, sampled), captions, features)
    marginals = log_marginals(log_likelihoods(model, captions.sentences, sampled))
    rankings = rank_exactly(model, captions.sentences, features, marginals)
    assert list(found.model_dump().values()) == figures_by_hand(world, rankings)


def test_fast_figures_are_those_of_the_parts(world):
    ranker, captions, features = world
    found, _ = evaluate_retrieval(fast_ranking(ranker, 3), captions, features)
    marginals = ranker.near_marginals(captions.sentences, 3)
    rankings = rank_fast(ranker, captions.sentences, features, marginals)
    assert list(found.model_dump().values()) == figures_by_hand(world, rankings)


def test_folds_are_ranked_apart(world):
    ranker, captions, features = world
    rank = exact_ranking(ranker.checkpoint.model, ranker.sampled)
    whole, intervals = evaluate_retrieval(rank, captions, features, fold_count=2)
    first = captions.image_rows < 4
    halves = []
    for inside, images in ((first, slice(0, 4)), (~first, slice(4, 8))):
        rows = np.flatnonzero(inside)
        part = EncodedCaptions(
            [captions.sentences[i] for i in rows], captions.image_rows[rows] - images.start
        )
        halves.append(evaluate_retrieval(rank, part, features[images])[0])
    mean = np.mean([half.sentence_to_image.mean_rank for half in halves])
    assert whole.sentence_to_image.mean_rank == pytest.approx(mean)
    low, high = intervals["sentence_to_image.mean_rank"]
    assert low < mean < high


def test_intervals_are_of_images_with_all_their_sentences(world):
    ranker, captions, features = world
    rank = exact_ranking(ranker.checkpoint.model, ranker.sampled)
    scores, intervals = evaluate_retrieval(rank, captions, features, resamples=300, seed=4)
    assert len(intervals) == 3 * 5
    for direction, figures in scores.model_dump().items():
        for key, value in figures.items():
            low, high = intervals[f"{direction}.{key}"]
            assert low <= value <= high
    again = evaluate_retrieval(rank, captions, features, resamples=300, seed=4)[1]
    assert intervals == again != evaluate_retrieval(rank, captions, features, resamples=300)[1]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("asked", [3, 1000])
def test_progress_counts_up_to_what_was_announced(world, exact, asked):
    ranker, captions, features = world
    sampled = ranker.sampled[:asked]
    make = partial(exact_ranking, ranker.checkpoint.model, sampled)
    if not exact:
        make = partial(fast_ranking, ranker, len(sampled))
    plan = RankingPlan(make, exact, len(sampled), asked)
    counts = []
    found = plan.measure(captions, features, precision=torch.float32, on_pairs=counts.append)
    announced = plan.pairs(len(captions), len(features), 1)
    assert sum(counts) == announced if exact else 0 < sum(counts) <= announced
    assert found.scores == evaluate_retrieval(make(), captions, features)[0]
    assert found.settings["marginal_images"] == len(sampled)
    few = f"retrieval: P(sentence) over {len(sampled)} training images, as there are no more"
    assert found.notes == ([few] if asked > len(sampled) else [])
