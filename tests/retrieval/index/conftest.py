"""Photos to index, and the model that does."""

import pytest

from mrnn.retrieval.index.index import RetrievalModel


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


@pytest.fixture
def loaded(model_with_heads):
    return RetrievalModel.load(model_with_heads)
