import numpy as np
import pytest

from mrnn.bulk.tasks import EmbeddingTask
from mrnn.data.shards.photo import ShardPhoto
from mrnn.model.checkpoint import Checkpoint
from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.index.writer import index_photos


@pytest.fixture
def photos(colours):
    return [ShardPhoto(f"k{n}", each.path.read_bytes()) for n, each in enumerate(colours.images)]


BROKEN = ShardPhoto("broken", b"no photo"), ShardPhoto("gone\n", error="no such file")


def test_captions_are_those_of_the_captioner(caption_task, photos, colours):
    task = caption_task()
    found = [result for _, result in task.results(photos)]
    plain = task.captioner.caption([each.path for each in colours.images])
    assert [each.image for each in found] == [photo.key for photo in photos]
    assert [each.captions for each in found] == [each.captions for each in plain]
    assert [each.familiarity for each in found] == [each.familiarity for each in plain]


@pytest.mark.parametrize("places", [(0, 0), (0, 1), (5, 30), (30, 30), (17, 18)])
def test_broken_photos_keep_their_places(caption_task, photos, places):
    task = caption_task()
    good = {photo.key: result for photo, result in task.results(photos)}
    for place, broken in zip(places, BROKEN, strict=True):
        photos.insert(place, broken)
    found = list(task.results(iter(photos)))
    assert [photo for photo, _ in found] == photos
    for photo, result in found:
        assert result.image == photo.key
        if photo in BROKEN:
            assert result.captions == ()
        else:
            assert result == good[photo.key]
    errors = {photo.key: result.error for photo, result in found if result.error}
    assert errors["gone\n"] == "gone\\n: no such file"
    assert errors["broken"].startswith("broken: not a photo")


def test_only_broken_photos(caption_task):
    assert [bool(result.error) for _, result in caption_task().results(BROKEN)] == [True, True]
    assert list(caption_task().results([])) == []


def test_vectors_are_those_of_an_index(embedding_task, photos, colours, model_with_heads, tmp_path):
    found = [result for _, result in embedding_task.results([*photos, *BROKEN])]
    assert [each.error.partition(" (")[0] for each in found[-2:]] == [
        "broken: not a photo", "gone\\n: no such file",
    ]  # fmt: skip
    model = RetrievalModel.load(model_with_heads)
    paths = [each.path for each in colours.images]
    index_photos(paths, tmp_path / "index", model, lambda: None, pytest.fail)
    index = open_index(tmp_path / "index")
    rows = index.find([str(path) for path in paths])
    features = np.stack([each.feature for each in found[:-2]])
    np.testing.assert_array_equal(features, index.take("features", rows))
    embeddings = np.stack([each.embedding for each in found[:-2]])
    np.testing.assert_allclose(embeddings, index.take("vectors", rows), atol=1e-6)


def test_a_model_without_heads_gives_features_alone(model, photos):
    checkpoint = Checkpoint.load(model)
    task = EmbeddingTask(checkpoint, checkpoint.load_encoder())
    ((_, found),) = task.results(photos[:1])
    assert (found.feature.shape, found.embedding) == ((7,), None)
    assert (task.job.feature_size, task.job.embedding_size) == (7, None)


def test_jobs_say_what_results_depend_on(caption_task, embedding_task):
    job = caption_task(consensus="self").job
    assert (job.holds, job.consensus, job.files) == ("captions", "self", "parquet")
    assert embedding_task.job.holds == "embeddings"
    assert embedding_task.job.model == job.model
    assert (embedding_task.job.feature_size, embedding_task.job.embedding_size) == (7, 3)
