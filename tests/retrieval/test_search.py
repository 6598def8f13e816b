import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mrnn.errors import CheckpointError, DataError, ImageError, OptionsError
from mrnn.model.checkpoint import Checkpoint
from mrnn.retrieval.ann_index import MOST
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.ranking import Ranker
from mrnn.retrieval.search import RetrievalIndex
from tests.conftest import COLOURS


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


@pytest.fixture
def index(photos, ranking_run, tmp_path):
    return RetrievalIndex.build(photos, tmp_path / "index", ranking_run)


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


def test_scores_are_likeness_and_exact_likelihood(index, ranking_run):
    ranker = Ranker.load(ranking_run, Checkpoint.load(ranking_run))
    words = ranker.checkpoint.vocabulary.encode(["a", "red", "wall"])
    features = np.asarray(index.files.values)
    likelihoods = log_likelihoods(ranker.checkpoint.model, [words], features)[0]
    scores = 100 * (index.files.vectors @ ranker.read([words])[0]) + likelihoods
    found = index.search("a red wall", top=99)
    assert [result.score for result in found] == pytest.approx(sorted(scores)[::-1], abs=1e-3)


def test_beyond_the_candidates_likeness_alone_decides(index, monkeypatch):
    monkeypatch.setattr("mrnn.retrieval.search.CANDIDATES", 4)
    found = index.search("green", top=12)
    assert len({result.path for result in found}) == 12
    assert colours_of(found)[:10] == ["green"] * 10
    assert [result.score for result in found] == sorted((r.score for r in found), reverse=True)


def test_many_queries_are_searched_as_one_by_one(index, photos):
    queries = ["a red wall", photos[1], "blue"]
    assert index.search(queries, top=4) == [index.search(query, top=4) for query in queries]


def test_only_paths_like_a_pattern(index, monkeypatch, tmp_path, ranking_run):
    found = index.search("a red wall", top=99, paths="*/dev-*")
    assert len(found) == 6
    assert all("/dev-" in result.path for result in found)
    monkeypatch.chdir(Path(found[0].path).parent.parent)
    assert index.search("a red wall", top=99, paths="photos/dev-*") == found
    odd = tmp_path / "[2024]" / "h"
    odd.mkdir(parents=True)
    shutil.copy(found[0].path, odd)
    moved = RetrievalIndex.build(odd.iterdir(), tmp_path / "i", ranking_run)
    monkeypatch.chdir(odd.parent)
    assert len(moved.search("a red wall", paths="./h/*")) == 1
    with pytest.raises(OptionsError, match=r"^No photo of the index has a path like 'nowhere/\*'$"):
        index.search("a red wall", paths="nowhere/*")


def test_candidates_of_a_graph_are_scored_as_those_of_the_product(
    index, photos, ranking_run, tmp_path
):
    pytest.importorskip("usearch", reason="the extra `approximate` is not installed")
    folder = tmp_path / "approximate"
    made = RetrievalIndex.build(photos, folder, ranking_run, approximate=True)
    loaded = RetrievalIndex.load(folder)
    asked = []
    real = loaded.files.graph.nearest
    loaded.files.graph.nearest = lambda vector, count: asked.append(count) or real(vector, count)
    for query in ("a red wall", photos[3]):
        assert loaded.search(query, top=4) == made.search(query, top=4) == index.search(query, 4)
    assert asked == [50, 50]
    loaded.search("a red wall", paths="*/dev-*")
    assert len(loaded.search("a red wall", top=MOST + 1)) == len(photos)
    assert len(asked) == 2  # a pattern, or more than MOST finds, and the product is taken


def test_a_photo_finds_its_sentences(ranking_run, photos, tmp_path):
    sentences = ["A red wall", "the wall is green .", "Blue!", "a red wall", "A red wall", "..."]
    counts = []
    index = RetrievalIndex.build_sentences(
        sentences, tmp_path / "index", ranking_run, on_sentences=counts.append
    )
    assert (len(index), sum(counts)) == (4, 4)
    for photo in photos[:3]:
        best = index.search(photo)[0].sentence.lower()
        assert photo.stem.split("-")[-1] in best
    assert index.search("green", top=1)[0].sentence == "the wall is green ."
    ranker = Ranker.load(ranking_run, Checkpoint.load(ranking_run))
    words = ranker.checkpoint.vocabulary.encode(["the", "wall", "is", "green"])
    assert index.files.values[1, 0] == pytest.approx(ranker.near_marginals([words])[0])
    common = ranker.commonness(ranker.read([words]))[0]
    assert index.files.values[1, 1] == pytest.approx(common)
    with pytest.raises(OptionsError, match=r"^Sentences have no paths to choose by; leave out"):
        index.search(photos[0], paths="*")
    with pytest.raises(DataError, match=r"there are no sentences to index$"):
        RetrievalIndex.build_sentences(["..."], tmp_path / "index", ranking_run)


def test_only_what_changed_is_encoded_again(index, photos, ranking_run, colour_encoder, tmp_path):
    encoded = []
    real = type(colour_encoder).encode

    def encode(self, pixels):
        encoded.append(len(pixels))
        return real(self, pixels)

    new = photos[0].with_name("new-blue.png")
    Image.new("RGB", (9, 9), COLOURS["blue"]).save(new)
    Image.new("RGB", (9, 9), COLOURS["green"]).save(photos[1])
    photos[2].unlink()
    problems = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(colour_encoder), "encode", encode)
        renewed = RetrievalIndex.build(
            [*photos, new, new], tmp_path / "index", ranking_run, on_problem=problems.append
        )
    assert sum(encoded) == 2
    assert problems == [f"{photos[2]}: no such file"]
    assert len(renewed) == len(photos)
    assert str(photos[2]) in [result.path for result in index.search("blue", top=99)]
    assert str(new) in [result.path for result in renewed.search("blue", top=99)]
    loaded = RetrievalIndex.load(tmp_path / "index")
    assert loaded.search("blue") == renewed.search("blue")


def test_a_model_that_was_moved_has_to_be_named(index, ranking_run, tmp_path):
    ranking_run.rename(tmp_path / "moved")
    message = (
        rf"index was made with another model than .*; say by --model where {ranking_run} is now"
    )
    with pytest.raises(CheckpointError, match=message):
        RetrievalIndex.load(tmp_path / "index")
    found = RetrievalIndex.load(tmp_path / "index", tmp_path / "moved").search("red")
    assert found == index.search("red")


def test_the_model_that_ships_may_be_moved(index, ranking_run, tmp_path, monkeypatch):
    ranking_run.rename(tmp_path / "moved")
    monkeypatch.setattr("mrnn.retrieval.search.DEFAULT_MODEL", tmp_path / "moved")
    assert RetrievalIndex.load(tmp_path / "index").search("red") == index.search("red")


def test_another_model_is_refused(index, ranking_run, checkpoint, tmp_path):
    with torch.no_grad():
        checkpoint.model.output.bias.add_(1)
    other = tmp_path / "other"
    checkpoint.save(other)
    ranker = Ranker.load(ranking_run, Checkpoint.load(ranking_run))
    replace(ranker, checkpoint=checkpoint).save(other)
    with pytest.raises(
        CheckpointError, match=r"index was made with another model than .*/other ho"
    ):
        RetrievalIndex.load(tmp_path / "index", other)


def test_unknown_words_are_left_out(index):
    assert index.unknown_words("A purple wall of velvet") == ["purple", "of", "velvet"]
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


def test_photos_that_cannot_be_read(index, ranking_run, tmp_path):
    with pytest.raises(ImageError, match=r"no such file$"):
        index.search(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"no photo could be read, so there is nothing to index$"):
        RetrievalIndex.build([tmp_path / "nowhere.png"], tmp_path / "index", ranking_run)
    assert len(RetrievalIndex.load(tmp_path / "index")) == len(index)
    assert os.listdir(tmp_path / "index")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("entries-1.jsonl", b"dust", r"entry \d+ has no path"),
        ("entries-1.jsonl", b'{"path": 7}', r"entry \d+ has no path"),
        ("vectors-1.npy", np.full((30, 3), np.nan, np.float32), "a vector or value is not finite"),
        ("values-1.npy", np.full((30, 7), np.nan, np.float16), "a value is not finite"),
        ("vectors-1.npy", np.zeros((30, 4), np.float32), "rows of 7 and 4 numbers"),
        ("values-1.npy", np.zeros((30, 6), np.float16), "rows of 6 and 3 numbers"),
    ],
)
def test_a_damaged_index(index, tmp_path, name, content, message):
    file = tmp_path / "index" / name
    if isinstance(content, bytes):
        file.write_bytes((content + b"\n") * 30)
    else:
        np.save(file, content)
    with pytest.raises(DataError, match=rf"index is damaged \({message}\); remove it and run mrnn"):
        RetrievalIndex.load(tmp_path / "index").search("a red wall", paths="*")
    with pytest.raises(DataError, match=rf"index is damaged \({message}\)"):
        RetrievalIndex.load(tmp_path / "index").search("a red wall")
