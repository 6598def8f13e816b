import json
import os

import pytest

from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import CheckpointError, DataError
from mrnn.retrieval.index.config import IndexConfig, read_index_config
from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.search import PhotoIndex


@pytest.fixture
def folder(colours, model_with_heads, tmp_path):
    PhotoIndex.build([image.path for image in colours.images], tmp_path / "i", model_with_heads)
    return tmp_path / "i"


def test_what_is_on_the_disk_says_what_made_it(folder, model_with_heads, colour_encoder):
    loaded = RetrievalModel.load(model_with_heads)
    assert json.loads((folder / CONFIG).read_text()) == {
        "format": 3,
        "encoder": colour_encoder.identity.model_dump(),
        "columns": {
            "vectors": {"dtype": "float32", "size": 3},
            "features": {"dtype": "float16", "size": 7},
        },
        "made": 1,
        "shards": [{"file": "shard-000001.safetensors", "rows": 30, "removed": []}],
        "holds": "photos",
        "run": os.path.abspath(model_with_heads),
        "model": loaded.checkpoint.fingerprint,
        "heads": loaded.heads.fingerprint,
        "roots": [],
        "exclude": [],
        "names": "paths",
        "engine": "numpy",
        "version": 0,
        "partitions": 0,
        "partitioned": 0,
    }


def test_an_index_is_opened_without_reading_its_rows(folder, monkeypatch):
    def read(*_):
        raise AssertionError

    monkeypatch.setattr("mrnn.data.feature_store.shard.Shard.names", read)
    monkeypatch.setattr("mrnn.data.feature_store.shard.Shard.name", read)
    assert len(open_index(folder)) == 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not an index; make one with mrnn index$"),
        ("{}", r"is not an index; make one in another folder with mrnn index$"),
        ("[]", r"is not an index; make one in another folder"),
        ('{"format": 1, "encoder": {}}', r"is not an index; make one in another folder"),
        (
            "{",
            r"config\.json:1: not JSON \(Expecting .*\); remove its folder if mrnn made it,",
        ),
        (
            '{"format": 4, "holds": ""}',
            r"has format 4, not 3; upgrade mrnn, or remove its folder if mrnn",
        ),
        (
            '{"format": 3, "holds": "dust"}',
            r"is damaged \(.*\); remove its folder if mrnn made it, then r",
        ),
    ],
)
def test_folders_that_are_no_index(tmp_path, content, message):
    if content is not None:
        (tmp_path / CONFIG).write_text(content)
    with pytest.raises(DataError, match=message):
        open_index(tmp_path)


def test_what_an_index_holds_is_photos_or_sentences(folder):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"holds": "dust"}))
    with pytest.raises(DataError, match=r"holds: expected 'photos' or 'sentences'"):
        read_index_config(folder)


def test_the_folder_of_a_model_is_no_index(model_with_heads):
    with pytest.raises(DataError, match=r"is not an index; make one in another folder"):
        open_index(model_with_heads)


def test_the_encoder_is_loaded_when_it_is_asked_for(model_with_heads, monkeypatch):
    loaded = RetrievalModel.load(model_with_heads, "nowhere.onnx")
    assert isinstance(loaded.config("photos"), IndexConfig)
    with pytest.raises(CheckpointError, match=r"nowhere\.onnx is missing"):
        loaded.encoder  # noqa: B018


def test_a_model_without_heads(model):
    with pytest.raises(
        CheckpointError, match=r"so the model has no retrieval head\. Run: mrnn tra"
    ):
        RetrievalModel.load(model)
