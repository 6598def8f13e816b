"""What tests of bulk work need: shards of the tiny world's photos, and tasks for its model."""

import io

import pytest
from PIL import Image

from mrnn.bulk.outputs import open_output
from mrnn.bulk.tasks import CaptionTask, EmbeddingTask
from mrnn.captioning.captioner import Captioner
from mrnn.data.shards.making import keyed_photos, make_shards
from mrnn.data.shards.photo import ShardPhoto
from mrnn.model.checkpoint import Checkpoint


@pytest.fixture
def shards(colours, tmp_path):
    """A folder of four tars, of 9, 9, 9 and 3 photos."""
    photos = keyed_photos([each.path for each in colours.images], [tmp_path / "photos"])
    make_shards(photos, tmp_path / "shards", 9, lambda: None, pytest.fail)
    return tmp_path / "shards"


@pytest.fixture
def caption_task(model_with_heads):
    """Makes a task of captions; its options may be given."""

    def make(**options):
        captioner = Captioner.load(model_with_heads)
        config = captioner.checkpoint.config
        given = {"decoding": config.decoding, "reranking": config.reranking} | options
        return CaptionTask(captioner, **given)

    return make


@pytest.fixture
def embedding_task(model_with_heads):
    checkpoint = Checkpoint.load(model_with_heads)
    return EmbeddingTask(checkpoint, checkpoint.load_encoder())


BROKEN = ShardPhoto("c", b"no photo")


@pytest.fixture
def photos(colours):
    """Three photos, one of them broken, and two whose keys have dots."""
    first, second, *_ = (each.path.read_bytes() for each in colours.images)
    return [ShardPhoto("a.jpg", first, ".jpg"), ShardPhoto("a.b", second, ".png"), BROKEN]


@pytest.fixture
def written(caption_task, photos, tmp_path):
    """Writes the photos in a format; gives the file and the results by key."""

    def write(kind, **options):
        task = caption_task(files=kind, **options)
        file = tmp_path / f"out.{kind}"
        results = {}
        with open_output(file, task.job, {"shard": "out"}) as add:
            for photo, result in task.results(photos):
                add(photo, result)
                results[photo.key] = result
        return file, results

    return write


@pytest.fixture
def load_dataset(tmp_path, monkeypatch):
    """Of Hugging Face, its cache in a folder of this test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")

    def load(kind, **options):
        return datasets.load_dataset(kind, split="train", cache_dir=str(tmp_path / "c"), **options)

    return load


def pixels(image):
    return image.convert("RGB").tobytes()


def same_photo(image, photo):
    return pixels(image) == pixels(Image.open(io.BytesIO(photo.content)))
