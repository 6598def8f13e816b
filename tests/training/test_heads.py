import numpy as np
import pytest
import torch

from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.errors import DataError
from mrnn.model.joint_embedding import JointSpaceOptions
from mrnn.training.heads import WEIGHTS, train_ranker

OPTIONS = JointSpaceOptions(size=6, steps=40, batch_size=12, learning_rate=0.02)


@pytest.fixture
def data(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def test_a_ranker_of_colours(checkpoint, data):
    before = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    ranker = train_ranker(checkpoint, data, OPTIONS)
    assert all(torch.equal(before[n], t) for n, t in checkpoint.model.state_dict().items())
    assert {ranker.weights.sentence_to_image, ranker.weights.image_to_sentence} <= set(WEIGHTS)
    train = load_features(data, checkpoint.encoder).of(data.split("train")).astype(np.float32)
    assert np.sort(ranker.sampled, axis=0) == pytest.approx(np.sort(train, axis=0), abs=1 / 128)
    sentences = [checkpoint.vocabulary.encode([name]) for name in ("red", "green", "blue")]
    dev = load_features(data, checkpoint.encoder).of(data.split("dev"))
    nearest = (ranker.see(dev) @ ranker.read(sentences).T).argmax(axis=1)
    assert nearest.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_same_seed_gives_the_same(checkpoint, data):
    one, other = (train_ranker(checkpoint, data, OPTIONS) for _ in range(2))
    assert (one.sampled == other.sampled).all()
    assert one.weights == other.weights
    states = one.space.state_dict(), other.space.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_dataset_without_dev(checkpoint, data):
    without = Dataset(data.folder, data.split("train"))
    with pytest.raises(DataError, match="no split 'dev'"):
        train_ranker(checkpoint, without, OPTIONS)
