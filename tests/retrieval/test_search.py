import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import CheckpointError, DataError, ImageError, OptionsError
from mrnn.model.checkpoint import Checkpoint
from mrnn.retrieval.index.index import IndexChanges, RetrievalModel, open_index
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.search import PhotoIndex
from tests.conftest import COLOURS, trained_model


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


@pytest.fixture
def index(photos, model_with_heads, tmp_path, engine):
    return PhotoIndex.build(photos, tmp_path / "index", model_with_heads)


@pytest.fixture
def sharded(photos, model_with_heads, tmp_path):
    """An index of the numpy engine."""
    return PhotoIndex.build(photos, tmp_path / "index", model_with_heads)


def colours_of(results):
    return [Path(result.path).stem.split("-")[-1] for result in results]


@pytest.mark.parametrize("name", COLOURS)
def test_a_sentence_finds_its_photos_and_a_photo_those_like_it(index, photos, name):
    found = index.search(f"The {name} wall.")
    assert colours_of(found) == [name] * 10
    assert [result.rank for result in found] == list(range(1, 11))
    assert [result.score for result in found] == sorted((r.score for r in found), reverse=True)
    photo = next(path for path in photos if name in path.name)
    like = index.search(photo, top=3)
    assert (like[0].path, like[0].score) == (str(photo), pytest.approx(1, abs=1e-3))
    assert colours_of(like) == [name] * 3


def test_scores_are_similarity_and_exact_likelihood(index, model_with_heads, tmp_path):
    model, stored = RetrievalModel.load(model_with_heads), open_index(tmp_path / "index")
    words, rows = model.token_ids("a red wall"), np.arange(30)
    likelihoods = log_likelihoods(model.checkpoint.network, [words], stored.take("features", rows))
    vectors = stored.take("vectors", rows)
    scores = 100 * (vectors @ model.heads.embed_text([words])[0]) + likelihoods[0]
    found = index.search("a red wall", top=99)
    assert [result.score for result in found] == pytest.approx(sorted(scores)[::-1], abs=1e-3)


def test_beyond_the_candidates_similarity_alone_decides(index, monkeypatch):
    monkeypatch.setattr("mrnn.retrieval.index_ranking.CANDIDATES", 4)
    found = index.search("green", top=12)
    assert len({result.path for result in found}) == 12
    assert colours_of(found)[:10] == ["green"] * 10
    assert [result.score for result in found] == sorted((r.score for r in found), reverse=True)


def test_many_queries_are_searched_as_one_by_one(index, photos):
    queries = ["a red wall", photos[1], "blue"]
    assert index.search(queries, top=4) == [index.search(query, top=4) for query in queries]


def test_only_paths_like_a_pattern(index, monkeypatch, tmp_path, model_with_heads):
    found = index.search("a red wall", top=99, paths="*/dev-*")
    assert len(found) == 6
    assert all("/dev-" in result.path for result in found)
    monkeypatch.chdir(Path(found[0].path).parent.parent)
    assert index.search("a red wall", top=99, paths="photos/dev-*") == found
    odd = tmp_path / "[2024]" / "h"
    odd.mkdir(parents=True)
    shutil.copy(found[0].path, odd)
    moved = PhotoIndex.build(odd.iterdir(), tmp_path / "i", model_with_heads)
    monkeypatch.chdir(odd.parent)
    assert len(moved.search("a red wall", paths="./h/*")) == 1
    with pytest.raises(OptionsError, match=r"^No photo of the index has a path like 'nowhere/\*'$"):
        index.search("a red wall", paths="nowhere/*")


def test_the_shards_of_an_index_do_not_change_what_is_found(
    index, photos, model_with_heads, tmp_path
):
    """Rows removed from among them included."""
    folder = tmp_path / "shards"
    for count in (7, 8, 20, 30):
        PhotoIndex.build(photos[:count], folder, model_with_heads)
    photos[4].rename(photos[4].with_suffix(".away"))
    PhotoIndex.build(photos, folder, model_with_heads, prune=True)
    photos[4].with_suffix(".away").rename(photos[4])
    PhotoIndex.build(photos, folder, model_with_heads)
    photos[29].unlink()
    made = PhotoIndex.build(photos[:29], folder, model_with_heads, prune=True)
    assert made.changes == IndexChanges(0, 0, 1)
    assert len(made) == 29
    whole = PhotoIndex.build(photos[:29], tmp_path / "whole", model_with_heads)
    for query in ("a red wall", photos[3], photos[4]):
        found, expected = (each.search(query, top=99) for each in (made, whole))
        assert len(found) == 29
        assert sorted((r.path, r.score) for r in found) == sorted(
            (r.path, r.score) for r in expected
        )


def test_a_sentence_is_searched_without_the_encoder(index, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("mrnn.model.checkpoint.Checkpoint.load_encoder", refuse)
    loaded = PhotoIndex.load(tmp_path / "index")
    assert loaded.search("a red wall") == index.search("a red wall")


def test_of_the_names_only_those_of_the_finds_are_read(sharded, tmp_path, monkeypatch):
    read, real = [], type(sharded._index).name
    loaded = PhotoIndex.load(tmp_path / "index")
    monkeypatch.setattr(
        type(sharded._index), "name", lambda self, row: read.append(row) or real(self, row)
    )
    monkeypatch.setattr("mrnn.data.feature_store.shard.Shard.names", None)
    loaded.search("a red wall", top=3)
    assert len(read) == 3


def test_a_photo_finds_its_sentences(model_with_heads, photos, tmp_path):
    sentences = ["A red wall", "the wall is green .", "Blue!", "a red wall", "A red wall", "..."]
    seen = []
    index = PhotoIndex.build_sentences(
        sentences, tmp_path / "index", model_with_heads, on_sentence=lambda: seen.append(1)
    )
    assert (len(index), len(seen)) == (4, 6)
    for photo in photos[:3]:
        best = index.search(photo)[0].sentence.lower()
        assert photo.stem.split("-")[-1] in best
    assert index.search("green", top=1)[0].sentence == "the wall is green ."
    model, stored = RetrievalModel.load(model_with_heads), open_index(tmp_path / "index")
    feature = model.encoder.encode(model.encoder.preprocess(Image.open(photos[0])))[None]
    ids, rows = [model.token_ids(name) for _, name in stored.names()], np.arange(4)
    similarity = stored.take("vectors", rows) @ model.heads.embed_image(feature)[0]
    likelihoods = log_likelihoods(model.checkpoint.network, ids, feature)[:, 0]
    hubness, marginals = (stored.take(column, rows)[:, 0] for column in ("hubness", "marginals"))
    scores = sorted(100 * (similarity - hubness) + likelihoods - marginals, reverse=True)
    found = [result.score for result in index.search(photos[0])]
    assert found == pytest.approx(scores, abs=1e-3)
    with pytest.raises(OptionsError, match=r"^Sentences have no paths to choose by; leave out"):
        index.search(photos[0], paths="*")
    with pytest.raises(DataError, match=r"there are no sentences to index$"):
        PhotoIndex.build_sentences(["..."], tmp_path / "new", model_with_heads)


def test_an_index_is_renewed_while_it_is_searched(index, photos, model_with_heads, tmp_path):
    new = photos[0].with_name("new-blue.png")
    Image.new("RGB", (9, 9), COLOURS["blue"]).save(new)
    photos[2].write_bytes(b"dust")
    problems = []
    renewed = PhotoIndex.build(
        [*photos, new, new], tmp_path / "index", model_with_heads, on_problem=problems.append
    )
    assert [problem.partition(":")[0] for problem in problems] == [str(photos[2])]
    assert (len(renewed), renewed.changes) == (30, IndexChanges(1, 0, 1))
    assert str(photos[2]) in [result.path for result in index.search("blue", top=99)]
    assert str(new) in [result.path for result in renewed.search("blue", top=99)]
    loaded = PhotoIndex.load(tmp_path / "index")
    assert loaded.changes is None
    assert loaded.search("blue") == renewed.search("blue")


@pytest.mark.parametrize("threads", ["1", "3"])
def test_a_search_outlives_the_folder_of_its_model(
    index, photos, model_with_heads, tmp_path, monkeypatch, threads
):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    queries = ["a red wall", photos[1]]
    expected = index.search(queries)
    loaded = PhotoIndex.load(tmp_path / "index")
    shutil.rmtree(model_with_heads)
    assert loaded.search(queries) == expected


def test_a_model_that_was_moved_has_to_be_named(index, model_with_heads, tmp_path):
    model_with_heads.rename(tmp_path / "moved")
    where = rf"say by --model where {model_with_heads} is now, or run mrnn index again$"
    message = rf"index was made with another model than .*; {where}"
    with pytest.raises(CheckpointError, match=message):
        PhotoIndex.load(tmp_path / "index")
    found = PhotoIndex.load(tmp_path / "index", tmp_path / "moved").search("red")
    assert found == index.search("red")


def test_the_model_that_ships_may_be_moved(index, model_with_heads, tmp_path, monkeypatch):
    model_with_heads.rename(tmp_path / "moved")
    monkeypatch.setattr("mrnn.retrieval.search.DEFAULT_MODEL", tmp_path / "moved")
    assert PhotoIndex.load(tmp_path / "index").search("red") == index.search("red")


def test_another_model_is_refused(
    index, vocabulary, colour_encoder, heads, model_with_heads, tmp_path
):
    trained_model(vocabulary, colour_encoder, embedding_size=4).save(tmp_path / "other")
    heads.save(tmp_path / "other", Checkpoint.load(tmp_path / "other").fingerprint)
    told = r"index was made with another model than .*/other holds now; run mrnn index again$"
    with pytest.raises(CheckpointError, match=told):
        PhotoIndex.load(tmp_path / "index", tmp_path / "other")
    heads.save(model_with_heads, Checkpoint.load(model_with_heads).fingerprint)
    with pytest.raises(CheckpointError, match=r"another model than \S+ holds now; run mrnn index"):
        PhotoIndex.load(tmp_path / "index")


def test_columns_of_another_size(index, tmp_path):
    config = json.loads((tmp_path / "index" / CONFIG).read_text())
    config["columns"]["vectors"]["size"] = 4
    (tmp_path / "index" / CONFIG).write_text(json.dumps(config | {"shards": []}))
    told = r"index has other columns than its model; remove it, then run mrnn index again$"
    with pytest.raises(DataError, match=told):
        PhotoIndex.load(tmp_path / "index")


def test_unknown_words_are_left_out(index):
    prepared = index.prepare("A purple wall of velvet")
    assert (prepared.tags, prepared.ignored) == ([], ["purple", "of", "velvet"])
    assert index.search(prepared) == index.search("A purple wall of velvet")
    assert index.search("red velvet") == index.search("red")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", r"^The query is empty; give a sentence, or the path of a photo$"),
        (" . ", r"^The query is empty"),
        ("purple velvet", r"^The model knows no word of the query \('purple', 'velvet'\); try oth"),
        ("wall " * 10_000, r"^The query has 10,000 words; 100 are the most that can be asked$"),
    ],
)
def test_queries_that_cannot_be_searched(index, query, message):
    with pytest.raises(OptionsError, match=message):
        index.search(query)


def test_no_finds_at_all_cannot_be_asked_for(index):
    with pytest.raises(OptionsError, match=r"^top is -1; ask for one find at least$"):
        index.search("red", top=-1)


def test_photos_that_cannot_be_read(index, model_with_heads, tmp_path):
    with pytest.raises(ImageError, match=r"no such file$"):
        index.search(tmp_path / "nowhere.png")
    problems, missing = [], [tmp_path / "nowhere.png"]
    with pytest.raises(DataError, match=r"no photo could be read, so there is nothing to index$"):
        PhotoIndex.build(missing, tmp_path / "new", model_with_heads)
    PhotoIndex.build(missing, tmp_path / "index", model_with_heads, on_problem=problems.append)
    assert problems == [f"{missing[0]}: no such file"]
    assert len(PhotoIndex.load(tmp_path / "index")) == len(index)


@pytest.mark.parametrize(
    ("array", "value", "message"),
    [
        ("vectors", b"\xff\xff\xff\x7f", "a vector is not finite"),
        ("features", b"\xff\x7f", "the features of row 1 are not finite"),
        ("name_ends", b"\xff" * 8, "the name of row 1 is not in it"),
    ],
)
def test_a_damaged_index(sharded, tmp_path, array, value, message):
    shard = open_index(tmp_path / "index").shards[0]
    content = bytearray(shard.file.read_bytes())
    start = shard.starts[array]
    content[start : start + len(value)] = value
    shard.file.write_bytes(content)
    told = (
        rf"shard-000001\.safetensors is damaged \({message}\); remove it, then run mrnn index again"
    )
    for paths in (None, "*"):
        with pytest.raises(DataError, match=told):
            PhotoIndex.load(tmp_path / "index").search("a red wall", top=30, paths=paths)


def test_a_damaged_index_is_mended_as_the_message_says(
    sharded, photos, model_with_heads, tmp_path, monkeypatch
):
    shard = open_index(tmp_path / "index").shards[0].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(
        DataError, match=r"is damaged \(it has .*\); remove it, then run mrnn index"
    ):
        PhotoIndex.load(tmp_path / "index")
    shard.unlink()
    made = PhotoIndex.build(photos, tmp_path / "index", model_with_heads)
    assert made.search("a red wall") == sharded.search("a red wall")


def test_an_index_of_nothing_finds_nothing(sharded, model_with_heads, tmp_path):
    config = json.loads((tmp_path / "index" / CONFIG).read_text())
    (tmp_path / "index" / CONFIG).write_text(json.dumps(config | {"shards": []}))
    assert PhotoIndex.load(tmp_path / "index").search("a red wall") == []


@pytest.fixture
def tagged_index(photos, model_with_heads, colour_tags, tmp_path, engine):
    return PhotoIndex.build(photos, tmp_path / "index", model_with_heads)


def test_unknown_words_find_photos_by_tags(tagged_index, tmp_path, model_with_heads):
    prepared = tagged_index.prepare("a crimson wall under the big skies")
    assert (prepared.tags, prepared.ignored) == (["crimson", "big skies"], ["under"])
    found = tagged_index.search("crimson", top=99)
    assert colours_of(found)[:10] == ["red"] * 10
    features = open_index(tmp_path / "index").take("features", np.arange(30))
    nats = np.log(
        RetrievalModel.load(model_with_heads).checkpoint.tagger.score("crimson", features)
    )
    assert [result.score for result in found] == pytest.approx(sorted(nats)[::-1], abs=1e-3)


def test_known_words_and_tags_are_added_up(tagged_index, monkeypatch):
    words = {r.path: r.score for r in tagged_index.search("a wall", top=99)}
    tags = {r.path: r.score for r in tagged_index.search("crimson", top=99)}
    both = tagged_index.search("a crimson wall", top=99)
    assert colours_of(both)[:10] == ["red"] * 10
    stored, heads = tagged_index._index, tagged_index._model.heads
    ids = tagged_index._model.token_ids("a wall")
    cosines = stored.take("vectors", np.arange(30)) @ heads.embed_text([ids])[0]
    scale = 100 * np.std(cosines) / np.std(list(tags.values())) if cosines.any() else 1
    for result in both:
        expected = words[result.path] + scale * tags[result.path]
        assert result.score == pytest.approx(expected, abs=1e-2)
    monkeypatch.setattr("mrnn.retrieval.index_ranking.CANDIDATES", 4)
    fewer = tagged_index.search("a crimson wall", top=99)
    assert [r.score for r in fewer] == sorted((r.score for r in fewer), reverse=True)
    assert len({r.path for r in fewer}) == 30
    assert colours_of(fewer)[:10] == ["red"] * 10


def test_words_that_neither_knows_are_refused_as_ever(tagged_index):
    prepared = tagged_index.prepare("velvet red")
    assert (prepared.tags, prepared.ignored) == ([], ["velvet"])
    with pytest.raises(OptionsError, match=r"^The model knows no word of the query \('velvet'\)"):
        tagged_index.search("velvet")


def test_a_known_word_is_no_tag(tagged_index):
    assert tagged_index.prepare("a red wall").tags == []


def test_a_damaged_feature_is_told_of_a_search_by_tags(colour_tags, sharded, tmp_path):
    shard = open_index(tmp_path / "index").shards[0]
    content = shard.file.read_bytes()
    start = shard.starts["features"]
    shard.file.write_bytes(content[:start] + b"\xff\x7f" + content[start + 2 :])
    with pytest.raises(DataError, match=r"is damaged \(the features are not finite\); remove it"):
        PhotoIndex.load(tmp_path / "index").search("crimson")


def test_sentences_have_no_tags(tagged_index, model_with_heads, tmp_path):
    index = PhotoIndex.build_sentences(["a red wall"], tmp_path / "sentences", model_with_heads)
    assert index.prepare("crimson red").tags == []
