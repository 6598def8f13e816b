import numpy as np
import pytest
import torch

from mrnn.batching import EncodedCaptions
from mrnn.joint_space import JointSpace
from mrnn.metrics.ranking import (
    image_to_sentence_ranks,
    ranking_scores,
    sentence_to_image_ranks,
)
from mrnn.ranking import Ranker, Weights, rank_exactly, rank_fast
from mrnn.ranking_evaluation import evaluate_retrieval, pairs_to_score


@pytest.fixture
def world(checkpoint):
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    space = JointSpace(len(checkpoint.vocabulary), image_size=7, size=4).eval()
    sampled = random.normal(size=(5, 7)).astype(np.float32)
    ranker = Ranker(checkpoint, space, sampled, Weights(sentence_to_image=2, image_to_sentence=3))
    counts = [1, 2, 5, 1, 3, 2, 1, 4]
    words = [
        [random.choice(["a", "red", "wall", "is"], 3).tolist() for _ in range(n)] for n in counts
    ]
    captions = EncodedCaptions.of(words, checkpoint.vocabulary)
    return ranker, captions, random.normal(size=(8, 7)).astype(np.float32)


@pytest.mark.parametrize(("exact", "rank"), [(True, rank_exactly), (False, rank_fast)])
def test_figures_are_those_of_the_parts(world, exact, rank):
    ranker, captions, features = world
    found = evaluate_retrieval(ranker, captions, features, exact=exact, marginal_images=3)
    marginals = (ranker.marginals if exact else ranker.near_marginals)(captions.sentences, 3)
    rankings = rank(ranker, captions.sentences, features, marginals)
    own = captions.image_rows
    ranks = [
        image_to_sentence_ranks(rankings.image_to_sentence, own),
        sentence_to_image_ranks(rankings.sentence_to_image, own),
        image_to_sentence_ranks(rankings.image_to_sentence_without_marginal, own),
    ]
    assert list(found.model_dump().values()) == [ranking_scores(r).model_dump() for r in ranks]


def test_folds_are_ranked_apart(world):
    ranker, captions, features = world
    whole = evaluate_retrieval(ranker, captions, features, exact=True, fold_count=2)
    first = captions.image_rows < 4
    halves = []
    for inside, images in ((first, slice(0, 4)), (~first, slice(4, 8))):
        rows = np.flatnonzero(inside)
        part = EncodedCaptions(
            [captions.sentences[i] for i in rows], captions.image_rows[rows] - images.start
        )
        halves.append(evaluate_retrieval(ranker, part, features[images], exact=True))
    mean = [half.sentence_to_image.mean_rank for half in halves]
    assert whole.sentence_to_image.mean_rank == pytest.approx(np.mean(mean))


@pytest.mark.parametrize("exact", [True, False])
def test_progress_counts_up_to_what_was_announced(world, exact):
    ranker, captions, features = world
    counts = []
    evaluate_retrieval(
        ranker, captions, features, exact=exact, marginal_images=3, on_pairs=counts.append
    )
    announced = pairs_to_score(len(captions), len(features), 3, 1, exact=exact)
    assert sum(counts) == announced if exact else 0 < sum(counts) <= announced
