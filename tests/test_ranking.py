import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open
from safetensors.numpy import save_file

import mrnn.ranking as ranking
from mrnn.checkpoint import Checkpoint
from mrnn.errors import CheckpointError
from mrnn.joint_space import JointSpace
from mrnn.model import MRNN
from mrnn.ranking import (
    RANKING,
    Ranker,
    Weights,
    best_candidates,
    fingerprint,
    first_by_score,
    rank_exactly,
    rank_fast,
    rounded,
)
from mrnn.scoring import log_likelihoods, log_marginals


@pytest.fixture
def ranker(checkpoint):
    torch.manual_seed(1)
    space = JointSpace(len(checkpoint.vocabulary), image_size=7, size=2, parts=2).eval()
    sampled = rounded(torch.randn(5, 7)).numpy()
    state = space.state_dict()
    space.load_state_dict({n: rounded(t) if t.ndim == 2 else t.half() for n, t in state.items()})
    return Ranker(checkpoint, space, sampled, Weights(sentence_to_image=2, image_to_sentence=3))


@pytest.fixture
def split(checkpoint):
    random = np.random.default_rng(2)
    sentences = [random.integers(3, 10, size=length).tolist() for length in (1, 3, 4, 6, 2, 5)]
    return sentences, random.normal(size=(4, 7)).astype(np.float32)


def test_exact_ranking_is_the_papers(ranker, split):
    sentences, images = split
    scores = log_likelihoods(ranker.checkpoint.model, sentences, images)
    sampled = log_likelihoods(ranker.checkpoint.model, sentences, ranker.sampled)
    marginals = log_marginals(sampled)
    rankings = rank_exactly(ranker.checkpoint.model, sentences, images, marginals)
    assert (rankings.sentence_to_image == scores).all()
    assert (rankings.image_to_sentence_without_marginal == scores).all()
    assert rankings.image_to_sentence == pytest.approx(scores - marginals[:, None])


def marginals_of(ranker, sentences):
    """Over all sampled images."""
    model = ranker.checkpoint.model
    return log_marginals(log_likelihoods(model, sentences, ranker.sampled))


def test_near_marginals_are_those_of_the_nearest_photos(ranker, split):
    scores = log_likelihoods(ranker.checkpoint.model, split[0], ranker.sampled)
    nearest = best_candidates(ranker.read(split[0]) @ ranker.see(ranker.sampled).T, 2)
    expected = log_marginals(np.where(nearest, scores, -np.inf).astype(np.float32))
    assert ranker.near_marginals(split[0], 2) == pytest.approx(expected, abs=1e-5)
    whole = marginals_of(ranker, split[0])
    assert (ranker.near_marginals(split[0], 2) < whole).all()
    assert ranker.near_marginals(split[0], 5) == pytest.approx(whole, abs=1e-5)


def test_a_sentence_near_all_photos_is_common(ranker):
    towards = ranker.see(ranker.sampled).mean(axis=0)
    common, rare = ranker.commonness(np.stack([towards, -towards]))
    assert common > 0 > rare


def test_likeness_is_the_cosine_of_a_photo_and_its_own_sentences(ranker, split):
    sentences, images = split
    own = [sentences[:2], [], sentences[2:5], sentences[5:]]
    found = ranker.likeness(own, images)
    whole = ranker.read(sentences) @ ranker.see(images).T
    assert [len(each) for each in found] == [2, 0, 3, 1]
    np.testing.assert_allclose(found[0], whole[:2, 0], atol=1e-6)
    np.testing.assert_allclose(found[2], whole[2:5, 2], atol=1e-6)
    np.testing.assert_allclose(found[3], whole[5:, 3], atol=1e-6)


def test_with_all_as_candidates_both_scores_count_everywhere(ranker, split):
    sentences, images = split
    marginals = marginals_of(ranker, sentences)
    found = rank_fast(ranker, sentences, images, marginals, candidates=99)
    likeness = ranker.read(sentences) @ ranker.see(images).T
    scores = log_likelihoods(ranker.checkpoint.model, sentences, images)
    plain = 3 * likeness + scores
    assert found.sentence_to_image == pytest.approx(2 * likeness + scores, abs=1e-5)
    assert found.image_to_sentence_without_marginal == pytest.approx(plain, abs=1e-5)
    shift = marginals + 3 * ranker.commonness(ranker.read(sentences))
    assert found.image_to_sentence == pytest.approx(plain - shift[:, None], abs=1e-4)


def test_likelihoods_are_worked_out_for_candidates_alone(ranker, split):
    sentences, images = split
    marginals, counts = marginals_of(ranker, sentences), []
    found = rank_fast(ranker, sentences, images, marginals, on_pairs=counts.append, candidates=1)
    likeness = ranker.read(sentences) @ ranker.see(images).T
    assert sum(counts) <= len(sentences) + len(images) < likeness.size
    order = np.argsort(-likeness, axis=1)
    assert (np.argsort(-found.sentence_to_image, axis=1) == order).all()


def test_the_chosen_come_first_and_the_others_by_likeness():
    likeness = np.array([[0.9, 0.5, 0.8, 0.5, -0.2]], dtype=np.float32)
    chosen = best_candidates(likeness, 2)
    assert chosen.tolist() == [[True, False, True, False, False]]
    scores = np.array([[-70.0, -np.inf, -30.0, -np.inf, -np.inf]], dtype=np.float32)
    order = np.argsort(-first_by_score(chosen, scores, likeness), axis=1, kind="stable")
    assert order.tolist() == [[2, 0, 1, 3, 4]]
    assert best_candidates(np.zeros((1, 3)), 2).tolist() == [[True, True, False]]


def plain_best(likeness, count):
    """By sorting everything."""
    places = np.argsort(np.argsort(-likeness, axis=1, kind="stable"), axis=1)
    return places < count


def plain_first(chosen, scores, likeness):
    least = np.where(chosen, scores, np.inf).min(axis=1, keepdims=True)
    return np.where(chosen, scores, least - 3 + likeness)


@given(
    likeness=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9),
                    elements=st.sampled_from([-0.5, -0.0, 0.0, 0.25, 1.0])),
    count=st.integers(1, 10),
    at_once=st.integers(1, 40),
)  # fmt: skip
def test_the_best_are_those_of_a_stable_sort(likeness, count, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
        assert (best_candidates(likeness, count) == plain_best(likeness, count)).all()


@pytest.mark.parametrize("at_once", [1, 13, 2_000_000])
def test_ranking_in_parts_is_ranking_at_once(ranker, at_once, monkeypatch):
    """Bit for bit, with many equal likenesses."""
    random = np.random.default_rng(3)
    sentences = [[int(word)] for word in random.integers(3, 6, 30)]
    images = random.integers(0, 2, (20, 7)).astype(np.float32)[random.integers(0, 6, 20)]
    marginals = marginals_of(ranker, sentences)
    vectors = ranker.read(sentences)
    likeness = vectors @ ranker.see(images).T
    distinct = (likeness - ranker.commonness(vectors)[:, None]).T
    assert len(np.unique(likeness)) < likeness.size / 10
    for_sentence, for_image = plain_best(likeness, 4), plain_best(distinct, 4)
    scores = log_likelihoods(
        ranker.checkpoint.model, sentences, images, wanted=for_sentence | for_image.T
    )
    monkeypatch.setattr(ranking, "PAIRS_AT_ONCE", at_once)
    found = rank_fast(ranker, sentences, images, marginals, candidates=4)
    both, plain = 3 * distinct + scores.T - marginals, 3 * likeness.T + scores.T
    expected = [
        plain_first(for_sentence, 2 * likeness + scores, likeness),
        plain_first(for_image, both, distinct).T,
        plain_first(for_image, plain, likeness.T).T,
    ]
    for one, other in zip(vars(found).values(), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_many_photos_are_seen_as_few(ranker, split, monkeypatch):
    expected = ranker.see(split[1])
    monkeypatch.setattr(ranking, "IMAGES_AT_ONCE", 3)
    np.testing.assert_allclose(ranker.see(split[1]), expected, atol=1e-6)


def test_what_is_saved_is_loaded(ranker, tmp_path, split):
    ranker.checkpoint.save(tmp_path)
    ranker.save(tmp_path)
    assert not list(tmp_path.glob("*.new"))
    loaded = Ranker.load(tmp_path, Checkpoint.load(tmp_path))
    assert loaded.weights == ranker.weights
    assert (loaded.sampled == ranker.sampled).all()
    assert (loaded.read(split[0]) == ranker.read(split[0])).all()
    assert (loaded.see(split[1]) == ranker.see(split[1])).all()


def test_rounding_is_near_and_rounds_no_further():
    matrix = torch.randn(40, 30) * torch.logspace(-6, 3, 40)[:, None]
    matrix[0] = 0
    once = rounded(matrix)
    assert torch.equal(rounded(once), once)
    assert torch.equal(once.half().float(), once)
    largest = matrix.abs().amax(dim=1, keepdim=True)
    assert ((once - matrix).abs() <= largest.clamp(min=2**-17) / 127).all()


def test_a_fingerprint_tells_models_apart(checkpoint):
    one = fingerprint(checkpoint)
    assert fingerprint(checkpoint) == one
    torch.manual_seed(5)
    other = Checkpoint(**{**vars(checkpoint), "model": MRNN(checkpoint.model.config)})
    assert fingerprint(other) != one


def test_a_model_without_a_ranking(checkpoint, tmp_path):
    assert Ranker.find(tmp_path, checkpoint) is None
    message = rf"^{tmp_path}/{RANKING} does not exist, so nothing can be ranked\. Run: mrnn train-r"
    with pytest.raises(CheckpointError, match=message):
        Ranker.load(tmp_path, checkpoint)


def change(file, **metadata):
    with safe_open(file, framework="np") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        header = json.loads(opened.metadata()["header"])
    save_file(tensors, file, {"header": json.dumps({**header, **metadata})})


def change_tensors(file, **changed):
    """Put in these tensors, and leave out those that are None."""
    with safe_open(file, framework="np") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata()
    tensors = {name: t for name, t in {**tensors, **changed}.items() if t is not None}
    save_file(tensors, file, metadata)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"model": "0" * 16}, r"was made for another model\. Run: mrnn train-ranking .* --data"),
        ({"format": 9}, r"has format 9; this version reads 1\. Upgrade mrnn, or: Run"),
        ({"weights": {}}, r": weights\.sentence_to_image: Field required\. Run: mrnn"),
        (
            {"weights": {"sentence_to_image": math.nan, "image_to_sentence": 3.0}},
            r": weights\.sentence_to_image: Input should be a finite number\. Run: mrnn",
        ),
        ({"parts": 3}, r": 3 parts cannot share 4 dimensions\. Run: mrnn train-ranking"),
    ],
)
def test_a_ranking_that_does_not_fit(ranker, tmp_path, metadata, message):
    ranker.save(tmp_path)
    change(tmp_path / RANKING, **metadata)
    with pytest.raises(CheckpointError, match=message):
        Ranker.load(tmp_path, ranker.checkpoint)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("image.weight", None, r": image\.weight has shape None, not \(4, 7\)\. Run: mrnn train-r"),
        (
            "image.bias",
            np.zeros(6, np.float16),
            r": image\.weight has shape \(4, 7\), not \(6, 7\)",
        ),
        (
            "mean",
            np.zeros(6, np.float16),
            r": mean has shape \(6,\), not \(7,\)\. Run: mrnn train-ran",
        ),
        (
            "other",
            np.zeros(6, np.float16),
            r": other has shape \(6,\), not None\. Run: mrnn train-r",
        ),
        (
            "sampled_images",
            None,
            r": sampled_images has shape None, not \(1, 7\)\. Run: mrnn train",
        ),
        (
            "scale",
            np.full(7, np.nan, np.float16),
            r": scale holds values that are not finite\. Run",
        ),
        ("mean", np.zeros(7, np.int16), r": mean holds torch\.int16\. Run: mrnn train-ranking"),
        ("image.weight.scale", None, r"cannot be read: 'image\.weight\.scale'\. Run: mrnn"),
    ],
)
def test_a_ranking_with_a_wrong_tensor(ranker, tmp_path, name, tensor, message):
    ranker.save(tmp_path)
    change_tensors(tmp_path / RANKING, **{name: tensor})
    with pytest.raises(CheckpointError, match=message):
        Ranker.load(tmp_path, ranker.checkpoint)


@pytest.mark.parametrize("kept", [0, 5, 300])
def test_a_damaged_ranking(ranker, tmp_path, kept):
    ranker.save(tmp_path)
    file = tmp_path / RANKING
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cannot be read: .*\. Run: mrnn train-ranking"):
        Ranker.load(tmp_path, ranker.checkpoint)
