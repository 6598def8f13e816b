"""`mrnn evaluate`: what it tells beside the figures, and what it refuses before any work."""

import json
import re

import pytest

from mrnn.data.features import extract_features


@pytest.fixture
def evaluate(mrnn, monkeypatch, tmp_path, colours, colour_encoder, ranking_run):
    """`mrnn evaluate` on a dataset beside it, by a model that can rank."""
    extract_features(colours, colour_encoder)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="ranking-run"):
        given = ("evaluate", model, "--data", "data", "--split", "dev", "--no-meteor")
        return mrnn(*given, *arguments)

    return run


def test_people_read_what_each_figure_depends_on(evaluate):
    options = ("--references", "1", "--seed", "3", "--consensus", "self", "--likeness", "2")
    options += ("--expected-cider", "0.5")
    code, out, _ = evaluate(*options)
    assert code == 0
    for line in (
        r"dev of data",
        r"model: ranking-run; recipe: tiny; encoder: colour \(.*",
        r"perplexity  +\d.* to \d+\.\d\d +words, unknown ones as one sign, and end signs",
        r"captions of people: \d+ words, of which \d+ are not among the model's \d+",
        r" +c1   95 % interval    depends on",
        r"captions of the model: beam_size 3, .*likeness 2\.0, expected_cider 0\.5, "
        r"re-ranked by consensus \(self; by cider, 10 hypotheses, "
        r"likelihood and expected CIDEr 0\.5 times\)",
        r"candidates: 6 images, 6 sentences; equal scores by index; an image's first.*",
        r"images: 6; references: 6 \(c1, 1 drawn of more, seed 3\); words: PTB, lower case.*",
        r"intervals: over images, 1,000 resamples, seed 3, document frequencies fixed",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line


def test_json_says_the_same(evaluate):
    options = ("--references", "1", "--seed", "3", "--consensus", "self", "--folds", "2")
    code, out, _ = evaluate(*options, "--json")
    assert code == 0
    settings = json.loads(out)["settings"]
    expected = {
        "model": "ranking-run", "data": "data", "split": "dev", "images": 6, "references": 6,
        "protocol": "c1", "drawn_references": 1, "drawing_seed": 3, "resampling_seed": 3,
        "tokenizer": "PTB, lower case, without punctuation", "consensus": "self", "folds": 2,
        "perplexity": "words, unknown ones as one sign, and end signs", "equal_scores": "by index",
        "rouge_l": "mean, beta 1.2", "beam_size": 3,
    }  # fmt: skip
    assert expected.items() <= settings.items()


def test_perplexity_alone_depends_on_no_captions_of_the_model(evaluate):
    code, out, _ = evaluate("--task", "perplexity")
    assert code == 0
    assert "words: PTB, lower case" in out
    assert not re.search("beam_size|document frequencies|candidates", out)


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
        ("--frequencies none", "none: cannot be read (No such file or directory)"),
        ("--split val", "data: no split 'val'; there are: train, dev"),
        ("--coco-results no/x.json", "--coco-results no/x.json: there is no folder no; make it"),
        ("--coco-results . --task perplexity", "--coco-results needs captions; give --task gen"),
        ("--consensus none.d", "none.d: not a dataset folder"),
        ("--expected-cider -1", "--expected-cider: Input should be greater than or equal"),
        ("--likeness -1", "--likeness: Input should be greater than or equal to 0"),
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
