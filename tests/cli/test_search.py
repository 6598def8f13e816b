"""`mrnn index`, `mrnn search`, `mrnn train-ranking` and the ranking part of `mrnn evaluate`."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from mrnn.data.dataset import write_dataset
from mrnn.data.features import extract_features
from mrnn.model.checkpoint import Checkpoint
from mrnn.retrieval.index_folder import read_index
from mrnn.retrieval.ranking import Ranker
from mrnn.retrieval.search_page import search_page
from mrnn.training.network import MRNN


@pytest.fixture
def photos(colours):
    return colours.images[0].path.parent


def test_photos_are_indexed_and_found(mrnn, photos, ranking_run, tmp_path):
    index = tmp_path / "index"
    (photos / "broken.png").touch()
    code, out, err = mrnn("index", photos, "--out", index, "--model", ranking_run)
    assert (code, out) == (1, f"{index}: 30 photos\n")
    assert err.splitlines() == [
        f"{photos}/broken.png: empty, 0 bytes; copy the photo again",
        "1 of 31 photos could not be indexed",
    ]
    code, out, err = mrnn("search", index, "a red velvet wall", "--top", 3, "--json")
    assert (code, err) == (0, "Words that the model does not know are left out: velvet\n")
    results = [json.loads(line) for line in out.splitlines()]
    assert [sorted(result) for result in results] == [["path", "rank", "score"]] * 3
    assert all("red" in result["path"] for result in results)
    code, out, _ = mrnn("search", index, photos / "dev-01-green.png", "--top", 1)
    assert (code, out.split()) == (0, ["1.00", f"{photos}/dev-01-green.png"])
    code, out, _ = mrnn("search", index, "blue", "--paths", "*dev*", "--top", 9)
    assert len(out.splitlines()) == 6


def test_a_graph_needs_its_extra(mrnn, photos, ranking_run, tmp_path, monkeypatch):
    order = ("index", photos, "--out", tmp_path / "index", "--model", ranking_run, "--approximate")
    with monkeypatch.context() as patch:
        patch.setattr("mrnn.retrieval.ann_index.find_spec", lambda _: None)
        code, out, err = mrnn(*order)
    assert (code, out) == (1, "")
    assert err.startswith("mrnn: Approximate search needs: pip install 'mrnn[approximate]'; or run")
    assert not (tmp_path / "index").exists()
    pytest.importorskip("usearch", reason="the extra `approximate` is not installed")
    assert mrnn(*order)[0] == 0
    assert list((tmp_path / "index").glob("graph-*"))
    code, out, _ = mrnn("search", tmp_path / "index", "blue", "--top", 1)
    assert (code, "blue" in out) == (0, True)


def test_a_page_of_thumbnails_names_what_is_gone(mrnn, photos, ranking_run, tmp_path):
    index, page = tmp_path / "index", tmp_path / "found.html"
    Image.new("RGB", (900, 600), "blue").save(photos / "<b>.png")
    assert mrnn("index", photos, "--out", index, "--model", ranking_run)[0] == 0
    (photos / "train-02-blue.png").unlink()
    code, out, err = mrnn("search", index, "blue & more", "--top", 30, "--html", page)
    assert (code, out) == (0, "")
    assert f"{photos}/train-02-blue.png is no longer there; run mrnn index again\n" in err
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 29
    assert text.count("(cannot be read any more)") == 1
    assert "<h1>blue &amp; more</h1>" in text
    assert "&lt;b&gt;.png" in text
    assert "http" not in text
    assert f'<a href="{(photos / "<b>.png").as_uri()}"><img' in text


def test_a_query_that_is_not_utf8_is_shown_as_far_as_it_is():
    assert "<h1>red \\udcff</h1>" in search_page("red \udcff", [])


def test_sentences_are_indexed_and_found(mrnn, photos, ranking_run, tmp_path):
    file, index = tmp_path / "sentences.txt", tmp_path / "index"
    file.write_text("A red wall\n\nthe wall is green\n")
    code, out, _ = mrnn("index", "--sentences", file, "--out", index, "--model", ranking_run)
    assert (code, out) == (0, f"{index}: 2 sentences\n")
    code, out, _ = mrnn("search", index, photos / "dev-00-red.png", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["sentence"] == "A red wall"
    file.write_text("A red wall\nqwert asdf\na blue velvet wall\n")
    code, out, err = mrnn("index", "--sentences", file, "--out", index, "--model", ranking_run)
    assert (code, out) == (1, f"{index}: 2 sentences (1 new, 0 changed, 1 forgotten)\n")
    assert err == (
        "'qwert asdf': has no word that the model knows\n1 of 3 sentences could not be indexed\n"
    )


def test_a_folder_that_is_not_there_forgets_nothing(mrnn, photos, ranking_run, tmp_path):
    index, drive = tmp_path / "index", tmp_path / "drive"
    shutil.copytree(photos, drive)
    arguments = ("index", photos, drive, "--out", index, "--model", ranking_run)
    assert mrnn(*arguments)[:2] == (0, f"{index}: 60 photos\n")
    shutil.rmtree(drive)
    code, out, err = mrnn(*arguments)
    assert (code, out) == (1, "")
    assert err == f"mrnn: {drive}: no such file or folder; nothing was changed\n"
    assert len(read_index(index).entries) == 60
    (photos / "dev-00-red.png").unlink()
    os.utime(photos / "dev-01-green.png", (1, 1))
    code, out, _ = mrnn("index", photos, "--out", index, "--model", ranking_run)
    assert (code, out) == (0, f"{index}: 29 photos (0 new, 1 changed, 31 forgotten)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "--out", "index"], "mrnn: Give photos to index, or a file to --sentences\n"),
        (
            ["index", "--sentences", __file__, "--approximate", "--out", "index"],
            "mrnn: Sentences are searched exactly; leave out --approximate\n",
        ),
        (
            ["search", "nowhere", "my dog.HEIC"],
            "mrnn: my dog.HEIC: no such file; give a photo that is there, or a sentence\n",
        ),
        (
            ["search", "nowhere", "dog", "--html", "none/page.html"],
            "mrnn: --html none/page.html: there is no folder none; make it first\n",
        ),
        (["search", "nowhere", "dog"], "mrnn: nowhere is not an index; make one with mrnn index\n"),
    ],
)
def test_what_cannot_be_done_is_one_line(mrnn, arguments, message):
    assert mrnn(*arguments) == (1, "", message)


def test_a_very_long_query_is_no_path(mrnn, photos, ranking_run, tmp_path):
    mrnn("index", photos, "--out", tmp_path / "index", "--model", ranking_run)
    code, out, err = mrnn("search", tmp_path / "index", "velvet " + "wall " * 9_999)
    assert (code, out) == (1, "")
    assert err == "mrnn: The query has 10,000 words; 100 are the most that can be asked\n"


def test_a_recipe_with_a_joint_space_trains_it_after_the_model(
    mrnn, colours, tmp_path, colour_encoder
):
    extract_features(colours, colour_encoder)
    settings = ["encoder.name=colour", "training.epochs=1", "training.minimum_count=1",
                "model.recurrent_size=8", "ranking.steps=20", "ranking.size=8"]  # fmt: skip
    settings = [part for setting in settings for part in ("--set", setting)]
    train = ("train", "flickr8k", "--data", colours.folder, "--out", tmp_path / "run", *settings)
    code, out, _ = mrnn(*train)
    assert code == 0
    assert out.splitlines()[-1].startswith(f"{tmp_path}/run/ranking.safetensors: likeness counts ")
    made = (tmp_path / "run" / "ranking.safetensors").read_bytes()
    ranker = Ranker.load(tmp_path / "run", Checkpoint.load(tmp_path / "run"))
    assert ranker.space.parts == 3
    assert ranker.space.image.out_features == 24
    (tmp_path / "run" / "ranking.safetensors").unlink()  # as if stopped before it was there
    code, _, _ = mrnn(*train, "--resume", "--set", "ranking.seed=1")
    assert code == 0
    assert (tmp_path / "run" / "ranking.safetensors").read_bytes() != made


def test_a_model_is_taught_to_rank_and_measured(
    mrnn, colours, ranking_run, tmp_path, colour_encoder
):
    extract_features(colours, colour_encoder)
    run = tmp_path / "run"
    shutil.copytree(ranking_run, run)
    (run / "ranking.safetensors").unlink()
    measure = ("evaluate", run, "--data", colours.folder, "--split", "dev", "--json")
    code, out, _ = mrnn(*measure, "--task", "all")
    report = json.loads(out)
    assert (code, report["retrieval"]) == (0, None)
    assert report["notes"][-1].startswith(f"retrieval: {run}/ranking.safetensors does not exist")
    code, _, err = mrnn(*measure, "--task", "retrieval")
    assert code == 1
    assert err.startswith(f"mrnn: {run}/ranking.safetensors does not exist")
    code, out, _ = mrnn(*measure, "--task", "retrieval", "--exact")
    assert code == 0
    assert json.loads(out)["settings"]["marginal_images"] == 24  # all of train
    code, out, _ = mrnn("train-ranking", run, "--data", colours.folder, "--steps", 30)
    assert code == 0
    assert out.startswith(f"{run}/ranking.safetensors: likeness counts ")
    for exact in ([], ["--exact", "--marginal-images", "4", "--folds", "2"]):
        code, out, err = mrnn(*measure, "--task", "retrieval", *exact)
        assert (code, err) == (0, "")
        report = json.loads(out)
        assert report["perplexity"] is report["generation"] is None
        for direction in ("image_to_sentence", "sentence_to_image"):
            assert {"r@1", "r@5", "r@10", "median_rank"} <= set(report["retrieval"][direction])
    assert report["settings"]["ranking"] == "exact"
    assert report["settings"]["marginal_images"] == 4
    assert report["settings"]["candidate_images"] == 3
    assert {"sentence_to_image.r@1", "image_to_sentence.median_rank"} <= set(report["intervals"])
    code, out, _ = mrnn(*measure[:-1], "--task", "retrieval", "--limit", 4)
    assert code == 0
    assert "image to sentence without marginal" in out
    assert "candidates: 4 images, 8 sentences; equal scores by index" in out
    assert "ranking fast: likelihoods of 15 candidates a query, in " in out
    assert "P(sentence) over 10 near training images" in out
    code, out, err = mrnn(*measure[:-1], "--task", "retrieval", "--exact", "--marginal-images", 99)
    assert "P(sentence) over 24 random training images" in out
    assert "likelihoods of all, in float32" in out
    assert "bfloat16" not in out
    assert err == "Note: retrieval: P(sentence) over 24 training images, as there are no more\n"
    code, out, _ = mrnn(*measure[:-1], "--task", "retrieval", "--exact", "--precision", "bfloat16")
    assert "likelihoods of all, in bfloat16" in out
    assert "bfloat16: near ranks may change places; --precision float32" in out


def test_without_training_photos_exact_ranking_takes_those_of_the_model(
    mrnn, colours, ranking_run, colour_encoder
):
    extract_features(colours, colour_encoder)
    train = [i for i in colours.images if i.split == "train"]
    alone = [replace(i, split="test") for i in colours.images if i not in train]
    write_dataset(alone, colours.folder, source="test", images_root=train[0].path.parent)
    measure = ("evaluate", ranking_run, "--data", colours.folder, "--task", "retrieval", "--json")
    code, out, _ = mrnn(*measure, "--exact")
    assert code == 0
    assert json.loads(out)["settings"]["marginal_images"] == 5


def test_a_model_that_sees_no_image_ranks_none(mrnn, colours, checkpoint, tmp_path, colour_encoder):
    extract_features(colours, colour_encoder)
    config = checkpoint.model.config.model_copy(update={"sees_image": False})
    replace(checkpoint, model=MRNN(config).eval()).save(tmp_path / "blind")
    measure = ("evaluate", tmp_path / "blind", "--data", colours.folder, "--split", "dev", "--json")
    code, out, _ = mrnn(*measure, "--exact", "--no-meteor")
    report = json.loads(out)
    assert (code, report["retrieval"]) == (0, None)
    problem = f"{tmp_path}/blind sees no image, so to it images are all alike"
    assert report["notes"][-1] == f"retrieval: {problem}"
    assert mrnn(*measure, "--task", "retrieval") == (1, "", f"mrnn: {problem}\n")
