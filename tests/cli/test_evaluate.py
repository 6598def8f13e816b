"""`mrnn evaluate`: what it tells beside the figures, and what it refuses before any work."""

import json
import re

import pytest
from PIL import Image

from mrnn.data.dataset import CaptionedImage, Dataset, write_dataset
from mrnn.data.features import extract_features
from tests.conftest import COLOURS, lines_of, trained_model


@pytest.fixture
def evaluate(mrnn, monkeypatch, tmp_path, colours, colour_encoder, model_with_heads):
    """`mrnn evaluate` on a dataset beside it, by a model with heads."""
    extract_features(colours, colour_encoder)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="model"):
        given = ("evaluate", model, "--data", "data", "--split", "dev", "--no-meteor")
        return mrnn(*given, *arguments)

    return run


def test_people_read_what_each_figure_depends_on(evaluate):
    options = ("--references", "1", "--seed", "3", "--consensus", "self")
    options += ("--similarity-weight", "2", "--predicted-cider-weight", "0.5")
    code, out, _ = evaluate(*options)
    assert code == 0
    for line in (
        r"dev of data",
        r"model: model; recipe: tiny; encoder: colour \(.*",
        r"perplexity  +\d.* to \d+\.\d\d +words, <unk> and <eos> counted",
        r"captions of people: \d+ words, of which \d+ are not among the model's \d+",
        r" +c1   95 % interval    depends on",
        r"captions of the model: beam_size 3, .*similarity_weight 2\.0, "
        r"predicted_cider_weight 0\.5, reranked by consensus "
        r"\(self; by cider, 10 hypotheses, model_weight 0\.5\)",
        r"candidates: 6 images, 6 sentences; equal scores by index; an image's first.*",
        r"two-stage retrieval: likelihoods of 15 candidates a query; P\(sentence\) over 5 near .*",
        r"images: 6; references: 6 \(c1, 1 sampled of more, seed 3\); words: PTB, lower case.*",
        r"intervals: over images, 1,000 resamples, seed 3, document frequencies fixed",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line


def test_json_says_the_same(evaluate):
    options = ("--references", "1", "--seed", "3", "--consensus", "self", "--folds", "2")
    code, out, _ = evaluate(*options, "--json")
    assert code == 0
    settings = json.loads(out)["settings"]
    expected = {
        "model": "model", "data": "data", "split": "dev", "images": 6, "references": 6,
        "protocol": "c1", "sampled_references": 1, "sampling_seed": 3, "resampling_seed": 3,
        "tokenizer": "PTB, lower case, without punctuation", "consensus": "self", "folds": 2,
        "perplexity": "words, <unk> and <eos> counted", "equal_scores": "by index",
        "retrieval": "two-stage",
        "rouge_l": "mean, beta 1.2", "beam_size": 3,
    }  # fmt: skip
    assert expected.items() <= settings.items()


def test_confidence_is_measured_where_there_is_some(evaluate, confident_model):
    code, out, _ = evaluate("--task", "generation")
    assert code == 0
    for line in (
        r"confidence: mean 0\.\d{3}, right captions 0\.\d{3}, expected calibration error "
        r"0\.\d{3}; right from CIDEr-D 0\.5; 10 bins of equal count; Spearman's correlation",
        r"correlation with CIDEr-D: of confidence -?\d\.\d{3} \(-?\d\.\d{3} to -?\d\.\d{3}\), "
        r"of familiarity .*",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line
    report = json.loads(evaluate("--task", "generation", "--json")[1])
    assert set(report["confidence"]) == {
        "right", "mean", "expected_calibration_error", "cider_correlation",
        "familiarity_correlation",
    }  # fmt: skip
    assert json.loads(evaluate("--task", "perplexity", "--json")[1])["confidence"] is None


def test_perplexity_alone_depends_on_no_captions_of_the_model(evaluate):
    code, out, _ = evaluate("--task", "perplexity")
    assert code == 0
    assert "words: PTB, lower case" in out
    assert not re.search("beam_size|document frequencies|candidates", out)


@pytest.mark.parametrize("given", ["model", "model/vocabulary.txt"])
def test_over_its_own_vocabulary_perplexity_is_the_same(evaluate, given):
    arguments = ("--task", "perplexity", "--vocabulary", given)
    report = json.loads(evaluate(*arguments, "--json")[1])
    assert report["perplexity_over_vocabulary"] == pytest.approx(report["perplexity"])
    assert report["settings"]["vocabulary"] == given
    code, out, _ = evaluate(*arguments)
    assert code == 0
    assert re.search(r"^ {10} +\d.* words shared with that vocabulary, all others", out, re.M)
    assert f"vocabulary: {given}; it shares 7 words with the model; 0 words of the" in out


def test_a_model_that_ships_lends_its_vocabulary_by_name(evaluate):
    arguments = ("--task", "perplexity", "--vocabulary", "flickr8k", "--json")
    report = json.loads(evaluate(*arguments)[1])
    assert report["settings"]["shared_words"] == 7
    assert report["perplexity_over_vocabulary"] == pytest.approx(report["perplexity"])


def test_without_a_vocabulary_there_is_no_perplexity_over_one(evaluate):
    code, out, _ = evaluate("--task", "perplexity", "--json")
    report = json.loads(out)
    assert (code, report["perplexity_over_vocabulary"]) == (0, None)
    assert "vocabulary" not in report["settings"]
    assert "perplexity_over_vocabulary" not in report["intervals"]


def test_images_that_fill_no_fold_are_told(evaluate):
    code, out, err = evaluate("--task", "retrieval", "--folds", "4")
    assert (code, err) == (0, "Note: retrieval: 4 folds of 1; the last 2 are in none\n")
    assert "each figure of retrieval is the mean over 4 folds" in out
    assert "candidates: 1 images, 2 sentences" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--folds 7", "--folds 7: there are 6 images; expected 1 to 6"),
        ("--limit 2 --folds 3", "--folds 3: there are 2 images; expected 1 to 2"),
        ("--frequencies none", "none: is missing; write it again: mrnn score --save-freq"),
        ("--split val", "data: no split 'val'; there are: train, dev"),
        ("--coco-results no/x.json", "--coco-results no/x.json: there is no folder no; make it"),
        ("--coco-results . --task perplexity", "--coco-results needs captions; give --task gen"),
        ("--consensus none.d", "none.d: not a dataset folder"),
        ("--vocabulary none", "none: is missing; give the vocabulary.txt of a model"),
        ("--vocabulary data", "data/vocabulary.txt: is missing; give the vocabulary.txt"),
        ("--vocabulary data/captions.jsonl", 'data/captions.jsonl, line 1: \'{"name": '),
        ("--vocabulary model --task retrieval", "--vocabulary needs perplexity; give --task p"),
        ("--predicted-cider-weight -1", "--predicted-cider-weight: expected greater than"),
        ("--similarity-weight -1", "--similarity-weight: expected greater than or equal"),
    ],
)
def test_what_cannot_be_is_refused_before_any_caption(evaluate, monkeypatch, arguments, message):
    monkeypatch.setattr("mrnn.evaluation.evaluate.evaluate", None)  # would be called for the work
    code, out, err = evaluate(*arguments.split())
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: {message}")
    assert err.count("\n") == 1


def test_figures_without_retrieval_take_any_folds(evaluate):
    assert evaluate("--folds", "7", "--task", "perplexity")[0] == 0


def test_exhaustive_retrieval_needs_no_heads(evaluate, model):
    code, out, err = evaluate("--task", "retrieval", "--exhaustive", "--marginal-images", "4")
    assert (code, err) == (0, "")
    line = "exhaustive retrieval: likelihoods of all pairs; P(sentence) over 4 random training"
    assert line in out
    (model / "heads.safetensors").unlink()
    assert evaluate("--task", "retrieval", "--exhaustive", "--marginal-images", "4")[1] == out
    many = evaluate("--task", "retrieval", "--exhaustive", "--marginal-images", "99")[2]
    assert many == "Note: retrieval: P(sentence) over 24 training images, as there are no more\n"


def test_a_model_without_heads_is_told_of_or_refused(evaluate, model):
    (model / "heads.safetensors").unlink()
    problem = "This model has no retrieval head; run mrnn train-heads, or add --exhaustive"
    code, out, err = evaluate("--task", "retrieval")
    assert (code, out, err) == (1, "", f"mrnn: {problem}\n")
    code, out, err = evaluate("--json")
    assert code == 0
    assert json.loads(out)["retrieval"] is None
    assert f"Note: retrieval: {problem}\n" in err


@pytest.mark.parametrize("exhaustive", [[], ["--exhaustive"]])
def test_figures_of_retrieval_have_intervals_in_both_directions(evaluate, exhaustive):
    options = ("--task", "retrieval", "--marginal-images", "4", "--folds", "2", "--json")
    code, out, err = evaluate(*options, *exhaustive)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["perplexity"] is report["generation"] is None
    for direction in ("image_to_sentence", "sentence_to_image"):
        assert {"r@1", "r@5", "r@10", "median_rank"} <= set(report["retrieval"][direction])
    assert report["settings"]["marginal_images"] == 4
    assert report["settings"]["candidate_images"] == 3
    assert {"sentence_to_image.r@1", "image_to_sentence.median_rank"} <= set(report["intervals"])


def test_without_a_train_split_exhaustive_retrieval_takes_the_models_photos(evaluate, colours):
    dev = [image for image in colours.images if image.split == "dev"]
    write_dataset(dev, colours.folder, source="test", images_root=dev[0].path.parent)
    code, out, _ = evaluate("--task", "retrieval", "--exhaustive", "--json")
    assert code == 0
    assert json.loads(out)["settings"]["marginal_images"] == 5


def test_a_model_that_sees_no_image_retrieves_none(evaluate, vocabulary, colour_encoder, tmp_path):
    trained_model(vocabulary, colour_encoder, sees_image=False).save(tmp_path / "blind")
    code, out, err = evaluate("--exhaustive", "--json", model="blind")
    problem = "This model takes no images, so it cannot rank them"
    assert (code, json.loads(out)["retrieval"]) == (0, None)
    assert f"Note: retrieval: {problem}\n" in err
    assert evaluate("--task", "retrieval", model="blind") == (1, "", f"mrnn: {problem}\n")


def test_evaluate_measures_one_task(mrnn, dataset, model):
    arguments = ("evaluate", model, "--data", dataset, "--split", "dev", "--json", "--no-meteor")
    arguments += ("--task",)
    (report,) = lines_of(mrnn(*arguments, "perplexity")[1])
    assert report["generation"] is None
    (report,) = lines_of(mrnn(*arguments, "generation", "--beam-size", "1")[1])
    assert report["perplexity"] is None
    assert report["settings"]["beam_size"] == 1


def test_evaluate_draws_references_and_takes_frequencies(mrnn, dataset, model, tmp_path):
    common = ("evaluate", model, "--data", dataset, "--split", "dev", "--json", "--no-meteor")
    ((whole,), (drawn,), (again,)) = (
        lines_of(mrnn(*common, *more)[1])
        for more in ([], ["--references", "1"], ["--references", "1", "--seed", "1"])
    )
    assert (whole["settings"]["protocol"], whole["settings"]["references"]) == ("c2", 12)
    assert (drawn["settings"]["protocol"], drawn["settings"]["references"]) == ("c1", 6)
    assert drawn["perplexity"] not in (whole["perplexity"], again["perplexity"])
    captions, file = tmp_path / "c.csv", tmp_path / "frequencies.json"
    captions.write_text("image,caption\n" + "".join(f"dev-0{i}-{c}.png,a {c} wall\n" for i, c in
                        enumerate(2 * list(COLOURS))))  # fmt: skip
    mrnn("score", captions, dataset, "--split", "dev", "--no-meteor", "--save-frequencies", file)
    one = (*common, "--limit", "1")
    (bare,) = lines_of(mrnn(*one)[1])
    code, out, err = mrnn(*one, "--frequencies", file)
    assert (code, bare["generation"]["cider"]) == (0, 0)
    (given,) = lines_of(out)
    assert given["settings"]["document_frequencies_of"] == "6 given images"
    assert "cider" not in err


def test_evaluate_says_what_is_new_and_of_what_it_cannot_know(mrnn, dataset, model, tmp_path):
    common = ("evaluate", model, "--split", "dev", "--task", "generation", "--no-meteor")
    code, out, _ = mrnn(*common, "--data", dataset)
    assert code == 0
    assert re.search(
        r"^novel +\d\.\d{3} +fraction of captions that are no training", out, re.MULTILINE
    )
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "features").symlink_to(dataset / "features")
    header = json.loads((dataset / "dataset.json").read_text())
    del header["splits"]["train"]
    (alone / "dataset.json").write_text(json.dumps(header))
    lines = (dataset / "captions.jsonl").read_text().splitlines(keepends=True)
    (alone / "captions.jsonl").write_text("".join(line for line in lines if '"dev"' in line))
    code, out, err = mrnn(*common, "--data", alone, "--json")
    assert code == 0
    assert json.loads(out)["generation"]["novel"] is None
    assert f"Note: novel: {alone} has no train split" in err


# Results for the COCO server


@pytest.fixture
def numbered(model, colour_encoder, monkeypatch, tmp_path):
    """A dataset beside a model, whose photos have the names of COCO's."""
    images = []
    for i in range(3):
        path = tmp_path / f"COCO_val2014_{i + 40:012}.png"
        Image.new("RGB", (8, 8), (i * 80, 10, 10)).save(path)
        images.append(CaptionedImage(path.name, path, "test", ("a red wall", f"the wall is {i}")))
    write_dataset(images, tmp_path / "data", source="test", images_root=tmp_path)
    extract_features(Dataset.load(tmp_path / "data"), colour_encoder)
    monkeypatch.chdir(tmp_path)


def test_coco_results_of_evaluate_score_the_same(mrnn, numbered, tmp_path):
    arguments = ("evaluate", "model", "--data", "data", "--no-meteor", "--json")
    code, out, err = mrnn(*arguments, "--coco-results", ".")
    assert code == 0
    file = tmp_path / "captions_test_mrnn_results.json"
    assert f"Wrote {file.name}\n" in err
    assert [entry["image_id"] for entry in json.loads(file.read_text())] == [40, 41, 42]
    _, scored, _ = mrnn("score", file, "data", "--split", "test", "--no-meteor", "--json")
    report, again = json.loads(out), json.loads(scored)
    assert again["generation"] == report["generation"]
    assert again["intervals"].items() <= report["intervals"].items()
    assert again["settings"].items() <= report["settings"].items()


def test_coco_results_are_refused_before_the_work(mrnn, numbered, colours, colour_encoder):
    extract_features(colours, colour_encoder)
    arguments = ("evaluate", "model", "--data", colours.folder, "--split", "dev")
    code, _, err = mrnn(*arguments, "--coco-results", "x.json")
    assert (code, err) == (1, "mrnn: 'dev-00-red.png' holds no image id; the COCO server takes "
                              "whole numbers, as in COCO_val2014_000000391895.jpg\n")  # fmt: skip
