from dataclasses import replace

import numpy as np
import pytest

from mrnn.data.dataset import Dataset
from mrnn.errors import CheckpointError
from mrnn.evaluation.retrieval import evaluate_retrieval, marginal_features, pair_count
from mrnn.metrics.recall import image_to_sentence_ranks, recall_scores, sentence_to_image_ranks
from mrnn.model.checkpoint import Checkpoint
from mrnn.retrieval.likelihood import log_likelihoods, log_marginals
from mrnn.retrieval.ranking import exhaustive_scores, near_marginals, two_stage_scores
from mrnn.tokenizer import EncodedCaptions


@pytest.fixture
def network(checkpoint):
    return checkpoint.network


@pytest.fixture
def split(vocabulary):
    random = np.random.default_rng(1)
    counts = [1, 2, 5, 1, 3, 2, 1, 4]
    words = [
        [random.choice(["a", "red", "wall", "is"], 3).tolist() for _ in range(n)] for n in counts
    ]
    captions = EncodedCaptions.of(words, vocabulary)
    return captions, random.normal(size=(8, 7)).astype(np.float32)


def ranks_by_hand(captions, pairs):
    own = captions.image_rows
    return {
        "image_to_sentence": image_to_sentence_ranks(pairs.image_to_sentence, own),
        "sentence_to_image": sentence_to_image_ranks(pairs.sentence_to_image, own),
        "image_to_sentence_without_marginal": image_to_sentence_ranks(
            pairs.image_to_sentence_without_marginal, own
        ),
    }


def check(found, captions, pairs):
    for name, ranks in ranks_by_hand(captions, pairs).items():
        assert found.ranks[name].tolist() == ranks.tolist()
        assert getattr(found.scores, name) == recall_scores(ranks)


def test_exhaustive_figures_are_those_of_the_parts(network, heads, split):
    captions, features = split
    sampled = heads.sampled_features[:3]
    found = evaluate_retrieval(network, captions, features, sampled=sampled)
    marginals = log_marginals(log_likelihoods(network, captions.sentences, sampled))
    check(found, captions, exhaustive_scores(network, captions.sentences, features, marginals))
    assert found.settings == {
        "retrieval": "exhaustive",
        "likelihoods": "of all pairs",
        "marginal_images": 3,
        "candidate_images": 8,
        "candidate_sentences": 19,
        "equal_scores": "by index",
        "folds": 1,
    }


def test_two_stage_figures_are_those_of_the_parts(network, heads, split):
    captions, features = split
    found = evaluate_retrieval(network, captions, features, heads=heads, marginal_images=3)
    marginals = near_marginals(network, heads, captions.sentences, 3)
    pairs = two_stage_scores(network, heads, captions.sentences, features, marginals)
    check(found, captions, pairs)
    assert found.settings["retrieval"] == "two-stage"
    assert found.settings["likelihoods"] == "of 15 candidates a query"


def test_folds_are_apart_and_images_that_fill_none_left_out(network, heads, split):
    captions, features = split
    sampled = heads.sampled_features
    whole = evaluate_retrieval(network, captions, features, sampled=sampled, folds=3)
    assert whole.settings["candidate_images"] == 2
    assert whole.settings["candidate_sentences"] == int((captions.image_rows < 6).sum()) // 3
    parts = []
    for start in (0, 2, 4):
        rows = np.flatnonzero((captions.image_rows >= start) & (captions.image_rows < start + 2))
        part = EncodedCaptions(
            [captions.sentences[i] for i in rows], captions.image_rows[rows] - start
        )
        images = features[start : start + 2]
        parts.append(evaluate_retrieval(network, part, images, sampled=sampled))
    mean = np.mean([part.scores.sentence_to_image.mean_rank for part in parts])
    assert whole.scores.sentence_to_image.mean_rank == pytest.approx(mean)
    low, high = whole.intervals["sentence_to_image.mean_rank"]
    assert low < mean < high
    together = [rank for part in parts for rank in part.ranks["sentence_to_image"].tolist()]
    assert whole.ranks["sentence_to_image"].tolist() == together


def test_intervals_are_of_images_with_all_their_sentences(network, heads, split):
    def intervals(seed):
        found = evaluate_retrieval(network, *split, heads=heads, resamples=300, seed=seed)
        return found.scores, found.intervals

    scores, found = intervals(4)
    assert len(found) == 3 * 5
    for direction, figures in scores.model_dump().items():
        for key, value in figures.items():
            low, high = found[f"{direction}.{key}"]
            assert low <= value <= high
    assert found == intervals(4)[1] != intervals(0)[1]


@pytest.mark.parametrize("exhaustive", [True, False])
@pytest.mark.parametrize("asked", [3, 1000])
def test_progress_counts_up_to_what_was_announced(network, heads, split, exhaustive, asked):
    captions, features = split
    sampled = heads.sampled_features[:asked] if exhaustive else None
    counts = []
    found = evaluate_retrieval(
        network, captions, features,
        heads=heads, sampled=sampled, marginal_images=asked, on_pairs=counts.append,
    )  # fmt: skip
    announced = pair_count(19, 8, exhaustive=exhaustive, marginal_images=asked)
    assert 0 < sum(counts) <= announced
    if exhaustive and asked == 3:
        assert sum(counts) == announced == 19 * 3 + 19 * 8
    available = min(asked, 5)
    assert found.settings["marginal_images"] == available
    few = "retrieval: P(sentence) over 5 training images, as there are no more"
    assert found.notes == ([few] if asked > available else [])


def test_what_is_needed_is_refused_without(network, split, monkeypatch):
    with pytest.raises(CheckpointError, match=r"^This model has no retrieval head; run mrnn train"):
        evaluate_retrieval(network, *split)
    blind = network.config.model_copy(update={"sees_image": False})
    monkeypatch.setattr(network, "config", blind)
    with pytest.raises(CheckpointError, match=r"^This model takes no images, so it cannot rank"):
        evaluate_retrieval(network, *split)


class NumberedFeatures:
    """A fake of a dataset's features: of each photo the number in its name."""

    def of(self, images):
        return np.array([[float(image.name.split("-")[1])] for image in images])


def test_photos_for_marginals_are_sampled_from_train(colours, checkpoint, monkeypatch):
    monkeypatch.setattr(
        "mrnn.evaluation.retrieval.load_features", lambda dataset, encoder: NumberedFeatures()
    )

    def rows(count, seed=0):
        return marginal_features(colours, checkpoint, count, seed)[:, 0].tolist()

    assert len(set(rows(5))) == 5
    assert rows(5) == rows(5) != rows(5, seed=1)
    assert sorted(rows(None)) == list(range(24))


def test_photos_for_marginals_are_the_models_own_without_a_train_split(
    colours, model_with_heads, model
):
    dev = tuple(image for image in colours.images if image.split == "dev")
    dataset = replace(colours, images=dev)
    assert isinstance(dataset, Dataset)
    checkpoint = Checkpoint.load(model_with_heads)
    found = marginal_features(dataset, checkpoint, 2)
    assert (found == checkpoint.heads.sampled_features[:2]).all()
    (model / "heads.safetensors").unlink()
    with pytest.raises(CheckpointError, match="has no train split to take P"):
        marginal_features(dataset, Checkpoint.load(model), 2)
