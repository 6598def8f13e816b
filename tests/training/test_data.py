import gc

import numpy as np
import pytest

from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.errors import DataError
from mrnn.training.batches import batches
from mrnn.training.data import read_training_data
from tests.training.test_train import run


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def test_the_features_of_the_training_photos_stay_on_the_disk(dataset, colour_encoder):
    features = load_features(dataset, colour_encoder.identity)
    data = read_training_data(dataset, features, 1)
    assert data.features is features


def test_each_caption_meets_the_feature_of_its_photo(dataset, colour_encoder):
    turned = Dataset(dataset.folder, dataset.images[::-1])  # the order on the disk is another one
    features = load_features(turned, colour_encoder.identity)
    data = read_training_data(turned, features, 1)
    seen = set()
    for batch in batches(data.train, data.features, 8):
        for words, image, caption in zip(batch.words, batch.features, batch.rows, strict=True):
            name = data.names[data.train.image_rows[caption]]
            colour = name.removesuffix(".png").split("-")[2]
            assert colour in data.vocabulary.decode(words.tolist()[1:])
            expected = features[np.array([features.rows[name]])][0]
            np.testing.assert_array_equal(image, expected)
            seen.add(name)
    assert seen == {image.name for image in turned.split("train")}


def test_a_vocabulary_without_words(dataset, tmp_path):
    with pytest.raises(
        DataError, match=r"data: no word occurs 100 times in the training captions; lower"
    ):
        run(dataset, tmp_path / "run", min_count=100)


def test_one_training_image_is_too_few(dataset, tmp_path, colour_encoder):
    few = Dataset(dataset.folder, (dataset.images[0], *dataset.split("dev")))
    with pytest.raises(DataError, match=r"data has fewer than two training images$"):
        run(few, tmp_path / "run", min_count=1)


def test_no_dev_split(dataset, tmp_path):
    with pytest.raises(DataError, match="data: no split 'dev'; there are: train"):
        run(Dataset(dataset.folder, dataset.split("train")), tmp_path / "run")


def test_garbage_is_collected_after_as_before(dataset, colour_encoder):
    features = load_features(dataset, colour_encoder.identity)
    read_training_data(dataset, features, 1)
    assert gc.isenabled()
    gc.disable()
    try:
        read_training_data(dataset, features, 1)
        assert not gc.isenabled()
    finally:
        gc.enable()
