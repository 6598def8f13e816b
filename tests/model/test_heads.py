import json
import math

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import RANKING
from mrnn.retrieval.ranking import Ranker


def test_what_is_saved_is_loaded(ranker, tmp_path):
    ranker.checkpoint.save(tmp_path)
    ranker.save(tmp_path)
    assert not list(tmp_path.glob("*.new"))
    loaded = Ranker.load(tmp_path, Checkpoint.load(tmp_path))
    assert loaded.weights == ranker.weights
    assert (loaded.sampled == ranker.sampled).all()
    sentences, images = [[3, 4], [5]], np.random.default_rng(2).random((2, 7), np.float32)
    assert (loaded.read(sentences) == ranker.read(sentences)).all()
    assert (loaded.see(images) == ranker.see(images)).all()
    scores = (each.expected_cider([sentences] * 2, images) for each in (loaded, ranker))
    assert all((one == other).all() for one, other in zip(*scores, strict=True))


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
        (
            {"format": 9},
            r"has format 9; this version reads 4, so upgrade mrnn if it is newer\. Run: mrnn",
        ),
        ({"weights": {}}, r": weights\.sentence_to_image: Field required\. Run: mrnn"),
        (
            {"weights": {"sentence_to_image": math.nan, "image_to_sentence": 3.0}},
            r": weights\.sentence_to_image: Input should be a finite number, not nan\. Run: mrnn",
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
        ("image.weight", None, r" lacks the tensor image\.weight\. Run: mrnn train-ranking"),
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
            r" has an unknown tensor other\. Run: mrnn train-ranking",
        ),
        (
            "sampled_images",
            None,
            r" lacks the tensor sampled_images\. Run: mrnn train-ranking",
        ),
        (
            "scale",
            np.full(7, np.nan, np.float16),
            r": scale holds values that are not finite\. Run",
        ),
        ("mean", np.zeros(7, np.int16), r": mean holds torch\.int16\. Run: mrnn train-ranking"),
        (
            "expected_cider.rarity",
            np.zeros(3, np.float16),
            r": expected_cider\.rarity has shape \(3,\), not \(7,\)\. Run: mrnn train-ranking",
        ),
        ("expected_cider.mean", None, r" lacks the tensor expected_cider\.mean\. Run: mrnn train"),
        (
            "expected_cider.spelling",
            np.full((7, 4), -2, np.int32),
            r": expected_cider\.spelling holds no ids of words\. Run: mrnn train-ranking",
        ),
        (
            "expected_cider.spelling",
            np.zeros((7, 4), np.float32),
            r": expected_cider\.spelling holds no ids of words\. Run: mrnn train-ranking",
        ),
        (
            "image.weight.scale",
            None,
            r"cannot be read: image\.weight lacks its \.scale\. Run: mrnn",
        ),
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
