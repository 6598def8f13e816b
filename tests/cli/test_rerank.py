import re

import pytest

from tests.conftest import lines_of


def test_captions_are_reranked_by_neighbours_and_by_each_other(mrnn, model, dataset, tmp_path):
    photos = tmp_path / "photos"
    one = next(photos.glob("dev-*-red.png"))
    code, text, _ = mrnn("caption", one, "--model", model, "--json", "--n-best", 10)
    assert code == 0
    nbest = tmp_path / "nbest.jsonl"
    nbest.write_text(text, encoding="utf-8")
    before = [caption["text"] for caption in lines_of(text)[0]["captions"]]
    few = (
        "Note: consensus: there are 24 training photos, fewer than the 60 neighbours asked for, "
        "so all of them count\n"
    )
    for source, told in (("self", ""), (dataset, few)):
        arguments = ("--data", source, "--model", model, "--json")
        code, text, err = mrnn("rerank", nbest, *arguments)
        assert (code, err) == (0, told)
        (line,) = lines_of(text)
        for rank, caption in enumerate(line["captions"], 1):
            assert caption["consensus"]["rank"] == rank
            assert caption["text"] == before[caption["consensus"]["rank_before"] - 1]
        code, text, err = mrnn("caption", one, "--model", model, "--consensus", source, "--json")
        assert code == 0
        assert (few in err) == bool(told)
        (best,) = lines_of(text)[0]["captions"]
        assert best["text"] == line["captions"][0]["text"]
    assert mrnn("rerank", nbest)[1] == mrnn("rerank", nbest, "self")[1]
    none = mrnn("caption", one, "--model", model, "--consensus", "none")
    assert none == mrnn("caption", one, "--model", model)


def test_evidence_of_what_was_said(mrnn, model, dataset, tmp_path):
    nbest = tmp_path / "nbest.jsonl"
    name = "dev-00-red.png"
    nbest.write_text(f'{{"image": "{name}", "captions": ["a wall", "a red wall"]}}\n')
    code, text, err = mrnn(
        *("rerank", nbest, "--data", dataset, "--model", model, "--evidence", "--neighbours", 7),
        *("--by", "bleu", "--references", 2, "--features", "raw", "--distance", "euclidean"),
    )
    assert (code, err) == (0, "")
    assert text.startswith(f"{name}:\n")
    assert "word for word in 8 training captions" in text
    assert "new; closest" in text
    assert re.search(r"\n  like train-\d\d-red\.png, 0\.\d+ away:\n    A red wall \.\n", text)


def test_a_name_steers_no_terminal(mrnn, tmp_path):
    nbest = tmp_path / "nbest.jsonl"
    nbest.write_text('{"image": "a\\u001b[31m.jpg", "captions": ["a wall", "a red wall"]}\n')
    code, text, _ = mrnn("rerank", nbest)
    assert (code, text.splitlines()[0]) == (0, r"a\x1b[31m.jpg:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data",), "'data' after the n-best file; expected self, or --data data"),
        (("--evidence",), "--evidence takes captions of training photos; give --data DATA"),
        (("--distance", "cosine", "--data", "self"), "--distance takes captions of training"),
        (("self", "--neighbours", 3), "--neighbours takes captions of training photos; give"),
        (("self", "--data", "nowhere"), "self and --data nowhere exclude each other; give one"),
        (("--data", "nowhere"), "nowhere: not a dataset folder"),
    ],
)
def test_what_rerank_refuses(mrnn, tmp_path, arguments, message):
    nbest = tmp_path / "nbest.jsonl"
    nbest.write_text('{"image": "a.jpg", "captions": ["a wall"]}\n')
    code, text, err = mrnn("rerank", nbest, *arguments)
    assert (code, text) == (1, "")
    assert err.startswith(f"mrnn: {message}")
    assert err.count("\n") == 1


def test_an_evaluation_with_consensus(mrnn, model, dataset):
    arguments = ("evaluate", model, "--data", dataset, "--split", "dev", "--json")
    code, text, _ = mrnn(*arguments, "--consensus", dataset)
    assert code == 0
    assert lines_of(text)[0]["settings"]["consensus"] == str(dataset)
    code, text, _ = mrnn(*arguments, "--consensus", "none")
    assert "consensus" not in lines_of(text)[0]["settings"]
