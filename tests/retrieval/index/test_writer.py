import os
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrnn import outputs
from mrnn.data.feature_store import writer as feature_writer
from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import DataError
from mrnn.model.heads import Heads
from mrnn.model.image_encoder import OnnxEncoder
from mrnn.retrieval.index import folder as index_folder
from mrnn.retrieval.index import writer as index_writer
from mrnn.retrieval.index.folder import Scope
from mrnn.retrieval.index.index import IndexChanges, RetrievalModel, open_index
from mrnn.retrieval.index.writer import index_photos, index_sentences
from mrnn.retrieval.ranking import near_marginals
from tests.conftest import COLOURS


@pytest.fixture
def encoded(monkeypatch):
    """How many photos have been encoded."""
    calls, real = [], OnnxEncoder.encode
    monkeypatch.setattr(
        OnnxEncoder, "encode", lambda self, pixels: calls.append(1) or real(self, pixels)
    )
    return calls


def index(photos, folder, model, on_problem=lambda _: None, **scope):
    return index_photos(photos, folder, model, lambda: None, on_problem, Scope(**scope))


def sentences(texts, folder, model, on_problem=lambda _: None, **scope):
    return index_sentences(texts, folder, model, lambda: None, on_problem, Scope(**scope))


def names_of(folder):
    return [name for _, name in open_index(folder).names()]


# Photos


def test_a_photo_more_costs_one_call_of_the_encoder(photos, loaded, encoded, tmp_path):
    assert index(photos[:20], tmp_path / "i", loaded) == IndexChanges(20, 0, 0)
    assert len(encoded) == 20
    before = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "i").iterdir()}
    assert index(photos[:21], tmp_path / "i", loaded) == IndexChanges(1, 0, 0)
    assert len(encoded) == 21
    after = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "i").iterdir()}
    changed = {name for name, when in after.items() if before.get(name) != when}
    assert changed == {CONFIG, "shard-000002.safetensors"}
    assert names_of(tmp_path / "i") == list(map(str, photos[:21]))


@pytest.mark.usefixtures("engine")
def test_vectors_are_those_of_the_stored_features(photos, loaded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    rows, made = np.arange(30), open_index(tmp_path / "i")
    features = made.take("features", rows)
    np.testing.assert_array_equal(made.take("vectors", rows), loaded.heads.embed_image(features))


@pytest.mark.usefixtures("engine")
def test_the_encoder_is_not_loaded_where_no_photo_is_new(photos, loaded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    blind = replace(loaded, encoder_file=tmp_path / "nowhere.onnx")
    assert index(photos[:7], tmp_path / "i", blind) == IndexChanges(0, 0, 0)
    assert len(open_index(tmp_path / "i")) == 30


@pytest.mark.usefixtures("engine")
def test_the_new_is_added_the_changed_replaced_the_rest_stays(photos, loaded, encoded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    opened = open_index(tmp_path / "i")
    new = photos[0].with_name("new-blue.png")
    Image.new("RGB", (9, 9), COLOURS["blue"]).save(new)
    Image.new("RGB", (9, 9), COLOURS["green"]).save(photos[1])
    changes = index([*photos[:10], new, new, photos[3]], tmp_path / "i", loaded)
    assert changes == IndexChanges(1, 1, 0)
    assert len(encoded) == 32
    assert sorted(names_of(tmp_path / "i")) == sorted(map(str, [*photos, new]))
    assert len(opened) == 30  # who opened the old index still has it
    assert opened.name(1) == str(photos[1])


@pytest.mark.usefixtures("engine")
def test_what_is_away_keeps_its_rows_until_it_is_pruned(photos, loaded, encoded, tmp_path):
    """Whether it is named or not: deleted, a dangling link, or in a folder that is not there."""
    drive = tmp_path / "drive"
    shutil.copytree(photos[0].parent, drive)
    index([*photos, *drive.iterdir()], tmp_path / "i", loaded)
    photos[2].unlink()
    photos[3].unlink()
    photos[3].symlink_to("nowhere")
    drive.rename(tmp_path / "elsewhere")
    drive.mkdir()  # an empty mount point
    problems = []
    for named in (photos, photos[:2]):
        changes = index(named, tmp_path / "i", loaded, problems.append)
        assert changes == IndexChanges(0, 0, 0, away=32)
    assert (len(open_index(tmp_path / "i")), len(encoded), problems) == (60, 60, [])
    drive.rmdir()
    (tmp_path / "elsewhere").rename(drive)
    assert index([], tmp_path / "i", loaded, prune=True) == IndexChanges(0, 0, 2)
    left = [*photos[:2], *photos[4:], *drive.iterdir()]
    assert sorted(names_of(tmp_path / "i")) == sorted(map(str, left))
    assert len(encoded) == 60


@pytest.mark.usefixtures("engine")
def test_all_rows_are_looked_at_if_that_is_asked_for(photos, loaded, encoded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    for photo in photos[:2]:
        Image.new("RGB", (9, 9), COLOURS["green"]).save(photo)
    photos[2].unlink()
    assert index(photos[:1], tmp_path / "i", loaded) == IndexChanges(0, 1, 0, away=1)
    assert index([], tmp_path / "i", loaded, everything=True) == IndexChanges(0, 1, 0, away=1)
    assert len(encoded) == 32


@pytest.mark.usefixtures("engine")
def test_the_index_remembers_folders_and_patterns(photos, loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"\xff")
    Path(odd).mkdir()
    shutil.copy(photos[0], odd)
    index(photos, tmp_path / "i", loaded, roots=["photos"], exclude=["dev-*"])
    config = open_index(tmp_path / "i").config
    assert config.roots == (str(tmp_path / "photos"),)
    assert config.exclude == ("dev-*",)
    index([Path(odd, photos[0].name)], tmp_path / "i", loaded, roots=[odd, "photos"])
    config = open_index(tmp_path / "i").config
    assert config.roots == (str(tmp_path / "photos"), f"{tmp_path}/\\udcff")
    assert config.exclude == ("dev-*",)
    shutil.rmtree(odd)
    changes = index([], tmp_path / "i", loaded, prune=True, exclude=["/dev-00*", "*_thumb.jpg"])
    assert changes == IndexChanges(0, 0, 2)
    assert str(tmp_path / "photos" / "dev-00-red.png") not in names_of(tmp_path / "i")
    config = open_index(tmp_path / "i").config
    assert (config.roots, config.exclude) == ((f"{tmp_path}/photos",), ("/dev-00*", "*_thumb.jpg"))


@pytest.mark.usefixtures("engine")
def test_photos_that_cannot_be_encoded_are_told_and_left_out(photos, loaded, tmp_path):
    photos[0].write_bytes(b"dust")
    Image.new("RGB", (9, 9)).save(photos[1])  # of black the tiny encoder makes 0 / 0
    problems = []
    changes = index(photos, tmp_path / "i", loaded, problems.append)
    assert (changes.new, len(problems)) == (28, 2)
    assert problems[0].startswith(f"{photos[0]}: not a ")
    assert problems[1].startswith(f"{photos[1]}: its feature holds nan, but numbers up to 65,504")
    nowhere = [tmp_path / "nowhere.png"]
    assert index(nowhere, tmp_path / "i", loaded, problems.append) == IndexChanges(0, 0, 0)
    assert (len(problems), len(open_index(tmp_path / "i"))) == (3, 28)
    with pytest.raises(DataError, match=r"no photo could be read"):
        index([tmp_path / "nowhere.png"], tmp_path / "new", loaded)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("engine")
def test_names_that_are_not_utf8(photos, loaded, tmp_path):
    odd = os.fsdecode(os.fsencode(photos[0].parent) + b"/\xff\n.png")
    shutil.copy(photos[0], odd)
    index([odd], tmp_path / "i", loaded)
    assert names_of(tmp_path / "i") == [odd]


# Another model


def with_other_heads(loaded):
    weight = loaded.heads.joint_embedding.image_weight * np.array([[-1], [1], [1]], np.float32)
    embedding = replace(loaded.heads.joint_embedding, image_weight=weight)
    heads = replace(loaded.heads, joint_embedding=embedding)
    heads.save(loaded.checkpoint.folder, loaded.checkpoint.fingerprint)
    return RetrievalModel.load(loaded.checkpoint.folder)


def test_new_heads_make_new_vectors_of_the_features_that_are_there(
    photos, loaded, encoded, tmp_path
):
    index(photos, tmp_path / "i", loaded)
    rows = np.arange(29)
    before = open_index(tmp_path / "i").take("vectors", rows)
    other = with_other_heads(loaded)
    photos[29].unlink()
    assert index(photos[:29], tmp_path / "i", other, prune=True) == IndexChanges(0, 0, 1)
    assert len(encoded) == 30
    made = open_index(tmp_path / "i")
    assert made.config.heads == other.heads.fingerprint
    np.testing.assert_allclose(made.take("vectors", rows), before * np.array([-1, 1, 1]), atol=1e-6)
    assert {f.name for f in (tmp_path / "i").iterdir()} == {*(CONFIG, "shard-000002.safetensors")}


def test_new_heads_and_a_shard_that_is_gone(photos, loaded, encoded, tmp_path):
    index(photos[:20], tmp_path / "i", loaded)
    index(photos, tmp_path / "i", loaded)
    (tmp_path / "i" / "shard-000001.safetensors").unlink()
    assert index(photos, tmp_path / "i", with_other_heads(loaded)) == IndexChanges(20, 0, 0)
    assert len(encoded) == 50


@pytest.mark.usefixtures("engine")
def test_features_of_another_encoder_are_not_thrown_away(photos, loaded, encoded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    config = (tmp_path / "i" / CONFIG).read_text()
    (tmp_path / "i" / CONFIG).write_text(config.replace('"layer":"mean"', '"layer":"last"'))
    told = (
        r"i holds features of colour \(last,.*, but the model takes those of colour \(mean,.*; make"
    )
    with pytest.raises(DataError, match=told + " another index, or remove this one first$"):
        index(photos[:4], tmp_path / "i", loaded)
    assert (len(encoded), len(open_index(tmp_path / "i"))) == (30, 30)


@pytest.mark.usefixtures("engine")
def test_the_index_of_a_model_that_moved_knows_where_it_is_now(photos, loaded, encoded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    shutil.copytree(loaded.checkpoint.folder, tmp_path / "moved")
    index(photos, tmp_path / "i", RetrievalModel.load(tmp_path / "moved"))
    assert open_index(tmp_path / "i").config.run == str(tmp_path / "moved")
    assert len(encoded) == 30


# Sentences


def test_sentences_are_added_and_forgotten(loaded, tmp_path, monkeypatch):
    asked, real = [], index_writer.near_marginals
    monkeypatch.setattr(
        index_writer, "near_marginals", lambda n, h, ids: asked.append(len(ids)) or real(n, h, ids)
    )
    problems, seen = [], []
    texts = ["A red wall", "the wall is green .", "A red wall", "...", "qwert asdf", "Blue!"]
    changes = index_sentences(
        texts, tmp_path / "i", loaded, lambda: seen.append(1), problems.append
    )
    assert (changes, len(seen)) == (IndexChanges(3, 0, 0), 6)
    assert problems == [f"{text!r}: has no word that the model knows" for text in texts[3:5]]
    assert names_of(tmp_path / "i") == ["A red wall", "the wall is green .", "Blue!"]
    texts = ["A red wall", "a blue velvet wall"]
    assert sentences(texts, tmp_path / "i", loaded) == IndexChanges(1, 0, 0, away=2)
    assert (asked, len(open_index(tmp_path / "i"))) == ([3, 1], 4)
    assert sentences(texts, tmp_path / "i", loaded, prune=True) == IndexChanges(0, 0, 2)
    assert names_of(tmp_path / "i") == texts
    made = open_index(tmp_path / "i")
    ids = [loaded.token_ids(name) for _, name in made.names()]
    rows = np.array([row for row, _ in made.names()])
    vectors = loaded.heads.embed_text(ids)
    np.testing.assert_array_equal(made.take("vectors", rows), vectors)
    marginals = near_marginals(loaded.checkpoint.network, loaded.heads, ids)
    np.testing.assert_allclose(made.take("marginals", rows)[:, 0], marginals, rtol=1e-5)
    hubness = loaded.heads.hubness_correction(vectors)
    np.testing.assert_allclose(made.take("hubness", rows)[:, 0], hubness, rtol=1e-5)


def test_many_sentences_are_written_some_at_a_time(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(index_writer, "ROWS", 4)
    texts = [f"a red wall {number}" for number in range(10)]
    assert sentences([*texts, *texts], tmp_path / "i", loaded) == IndexChanges(10, 0, 0)
    assert [entry.rows for entry in open_index(tmp_path / "i").config.shards] == [4, 4, 2]


def test_sentences_of_another_model_are_made_anew(loaded, tmp_path):
    sentences(["a red wall", "green"], tmp_path / "i", loaded)
    other = with_other_heads(loaded)
    assert sentences(["a red wall"], tmp_path / "i", other) == IndexChanges(2, 0, 0)
    assert names_of(tmp_path / "i") == ["a red wall", "green"]


def test_no_sentences_at_all(loaded, tmp_path):
    with pytest.raises(DataError, match=r"there are no sentences to index$"):
        sentences(["..."], tmp_path / "i", loaded)
    assert not (tmp_path / "i").exists()


# Folders


@pytest.mark.usefixtures("engine")
def test_photos_and_sentences_do_not_mix(photos, loaded, tmp_path):
    index(photos[:2], tmp_path / "i", loaded)
    with pytest.raises(DataError, match=r"is an index of photos, not of sentences; give another"):
        sentences(["red"], tmp_path / "i", loaded)


@pytest.mark.usefixtures("engine")
def test_a_folder_with_something_else_is_left_alone(photos, loaded, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"holds something else, 'letter\.txt'; choose another"):
        index(photos, tmp_path / "mine", loaded)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match=r"Not a directory; choose another folder$"):
        index(photos, tmp_path / "mine" / "letter.txt", loaded)
    with pytest.raises(DataError, match=r"is not an index; make one in another folder"):
        index(photos, loaded.checkpoint.folder, loaded)


def test_what_somebody_keeps_beside_it_stays(photos, loaded, tmp_path):
    index(photos[:2], tmp_path / "i", loaded)
    (tmp_path / "i" / "found.html").write_text("a page")
    (tmp_path / "i" / "shard-1.png").write_text("a picture")
    (tmp_path / "i" / ".mrnn-new-0123456789abcdef").write_text("left by a kill")
    outputs._swept.clear()
    index(photos[:3], tmp_path / "i", loaded)
    kept = {file.name for file in (tmp_path / "i").iterdir()}
    assert kept == {
        *(CONFIG, "found.html", "shard-1.png"),
        *("shard-000001.safetensors", "shard-000002.safetensors"),
    }


@pytest.mark.usefixtures("engine")
def test_a_writer_goes_on_from_what_another_left_just_before(
    photos, loaded, encoded, tmp_path, monkeypatch
):
    index(photos[:1], tmp_path / "i", loaded)
    lock = index_folder.Manifest.lock

    def late(manifest):
        monkeypatch.setattr(index_folder.Manifest, "lock", lock)
        index(photos[:2], tmp_path / "i", loaded)
        return lock(manifest)

    monkeypatch.setattr(index_folder.Manifest, "lock", late)
    assert index(photos[:3], tmp_path / "i", loaded) == IndexChanges(1, 0, 0)
    assert len(encoded) == 3


@pytest.mark.usefixtures("engine")
def test_two_writers_at_once(photos, loaded, tmp_path, monkeypatch):
    pytest.importorskip("fcntl")
    told = r"i is being written by another mrnn; wait until it is done$"
    real = OnnxEncoder.encode

    def encode(self, pixels):
        monkeypatch.setattr(OnnxEncoder, "encode", real)
        with pytest.raises(DataError, match=told):
            index(photos, tmp_path / "i", loaded)
        return real(self, pixels)

    monkeypatch.setattr(OnnxEncoder, "encode", encode)
    assert index(photos, tmp_path / "i", loaded).new == 30


@pytest.mark.usefixtures("engine")
def test_a_full_disk_keeps_what_is_done(photos, loaded, encoded, tmp_path, limited, monkeypatch):
    monkeypatch.setattr(feature_writer, "ROWS", 10)
    index(photos[:5], tmp_path / "i", loaded)
    told = r"i cannot be written \(File too large\); mend that, then run mrnn index again$"
    with pytest.raises(DataError, match=told), limited(1000):
        index(photos, tmp_path / "i", loaded)
    assert len(open_index(tmp_path / "i")) == 5
    index(photos, tmp_path / "i", loaded)
    assert len(open_index(tmp_path / "i")) == 30


# Interrupted


def index_slowly(photos, folder, run, encoders):
    """In a process of its own: shards of two photos, 20 ms a photo."""
    from mrnn.model import image_encoder

    image_encoder.SHIPPED = encoders
    feature_writer.ROWS = 2
    real = OnnxEncoder.encode
    OnnxEncoder.encode = lambda self, pixels: time.sleep(0.02) or real(self, pixels)
    index(photos, folder, RetrievalModel.load(run))


def test_an_index_killed_at_ten_random_moments_ends_as_one_left_alone(
    photos, loaded, tmp_path, killed
):
    from mrnn.model.image_encoder import SHIPPED

    index(photos, tmp_path / "whole", loaded)
    whole = open_index(tmp_path / "whole").take("vectors", np.arange(30))
    moments, kills = random.Random(0), 0
    for attempt in range(20):
        folder = tmp_path / f"i{attempt}"
        while killed(
            moments.uniform(0.05, 0.3), index_slowly, photos, folder, loaded.checkpoint.folder,
            SHIPPED,
        ):  # fmt: skip
            kills += 1
            if (folder / CONFIG).exists():
                found = names_of(folder)
                assert found == list(map(str, photos[: len(found)]))
        made = open_index(folder)
        assert names_of(folder) == list(map(str, photos))
        np.testing.assert_allclose(made.take("vectors", np.arange(30)), whole, atol=1e-6)
        files = {file.name for file in folder.iterdir()} - {CONFIG}
        assert files == {entry.file for entry in made.config.shards}
        if kills >= 10:
            break
    assert kills >= 10


def test_heads_that_cannot_be_loaded_change_nothing(photos, loaded, tmp_path):
    index(photos, tmp_path / "i", loaded)
    before = (tmp_path / "i" / CONFIG).read_bytes()
    assert isinstance(loaded.heads, Heads)
    (loaded.checkpoint.folder / "heads.safetensors").unlink()
    with pytest.raises(Exception, match="no retrieval head"):
        index(photos[:3], tmp_path / "i", RetrievalModel.load(loaded.checkpoint.folder))
    assert (tmp_path / "i" / CONFIG).read_bytes() == before
