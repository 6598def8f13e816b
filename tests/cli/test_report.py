"""`mrnn report` from end to end, and what it refuses."""

import shutil

import pytest

from mrnn.data.features import extract_features


@pytest.fixture
def report(mrnn, monkeypatch, tmp_path, colours, colour_encoder, model):
    """`mrnn report` beside a dataset and a model: exit code and stderr."""
    extract_features(colours, colour_encoder)
    shutil.copytree(model, tmp_path / "run")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code, out, err = mrnn("report", *arguments, "--no-meteor")
        assert out == ""
        return code, err

    return run


def test_a_page_is_written(report, tmp_path):
    code, err = report("run", "run", "--data", "data", "--limit", "4", "--out", "page.html")
    assert code == 0
    assert err.count("run has no retrieval head. Run: mrnn train-heads run --data data") == 2
    assert "Wrote page.html (" in err
    assert " kB)" in err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<article>") == 4
    assert text.count("<td>neither</td>") == 10
    assert "run holds no metrics.jsonl" in text
    assert {file.name for file in tmp_path.iterdir()} == {
        "data",
        "model",
        "page.html",
        "photos",
        "run",
    }


def test_captions_are_reranked_as_asked(report, tmp_path):
    pages = {}
    for source in ("none", "self", "data"):
        code, _ = report("run", "--data", "data", "--consensus", source, "--out", "page.html")
        assert code == 0
        pages[source] = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "consensus" not in pages["none"]
    for source in ("self", "data"):
        assert f"reranked by consensus ({source}; by cider, 10 hypotheses" in pages[source]
        assert pages[source].count("<article>") == 6
    assert '<th scope="row">novel</th>' in pages["self"]


def test_weights_take_effect_where_the_model_has_heads(report, tmp_path, model_with_heads):
    runs = ("model", "run", "--data", "data", "--out", "page.html")
    code, err = report(*runs, "--similarity-weight", "2", "--predicted-cider-weight", "0.5")
    assert code == 0
    assert "Note: similarity_weight: ignored: this model has no heads; run mrnn train-heads" in err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("similarity_weight 2.0, predicted_cider_weight 0.5") == 1
    assert '<th scope="row">R@1, image to sentence</th>' in text
    assert "run has no retrieval head" in text
    assert report(*runs, "--similarity-weight", "x")[0] == 2


def test_photos_that_are_gone_do_not_stop_it(report, tmp_path):
    shutil.rmtree(tmp_path / "photos")
    code, err = report("run", "--data", "data")
    assert code == 0
    assert "Note: 6 of 6 photos have no picture in the report; the first: " in err
    assert "dev-00-red.png: no such file" in err
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "tset"], "data: no split 'tset'; there are: train, dev"),
        (["--out", "photos"], "--out photos is a folder; name a file in it"),
        (["--out", "no/page.html"], "--out no/page.html: there is no folder no; make it first"),
    ],
)
def test_what_cannot_be_is_one_line(report, tmp_path, arguments, message):
    assert report("run", "--data", "data", *arguments) == (1, f"mrnn: {message}\n")
    assert not list(tmp_path.glob("*.html*"))
