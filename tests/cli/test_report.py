"""`mrnn report` from end to end, and what it refuses."""

import shutil

import pytest

from mrnn.data.features import extract_features


@pytest.fixture
def report(mrnn, monkeypatch, tmp_path, colours, colour_encoder, checkpoint):
    """`mrnn report` beside a dataset and a model: exit code and stderr."""
    extract_features(colours, colour_encoder)
    checkpoint.save(tmp_path / "run")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code, out, err = mrnn("report", *arguments, "--no-meteor")
        assert out == ""
        return code, err

    return run


def test_a_page_is_written(report, tmp_path):
    code, err = report("run", "run", "--data", "data", "--limit", "4", "--out", "page.html")
    assert code == 0
    assert err.count("so nothing can be ranked. Run: mrnn train-ranking run") == 2
    assert "Wrote page.html (0.0 MB)" in err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<article>") == 4
    assert text.count("<td>neither</td>") == 7
    assert "run holds no metrics.jsonl" in text
    assert {file.name for file in tmp_path.iterdir()} == {"data", "page.html", "photos", "run"}


def test_captions_are_reranked_as_asked(report, tmp_path):
    pages = {}
    for source in ("none", "self", "data"):
        code, _ = report("run", "--data", "data", "--consensus", source, "--out", "page.html")
        assert code == 0
        pages[source] = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "consensus" not in pages["none"]
    for source in ("self", "data"):
        assert f"re-ranked by consensus ({source}; by cider, 10 hypotheses" in pages[source]
        assert pages[source].count("<article>") == 6
    assert '<th scope="row">novel</th>' in pages["self"]


def test_likeness_counts_as_asked_where_the_model_ranks(report, tmp_path, ranking_run):
    runs = ("ranking-run", "run", "--data", "data", "--out", "page.html")
    code, err = report(*runs, "--likeness", "2", "--expected-cider", "0.5")
    assert code == 0
    assert "Note: likeness: left out, as the model has not learned to rank" in err
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("likeness 2.0, expected_cider 0.5") == 1
    assert '<th scope="row">R@1, image to sentence</th>' in text
    assert "run has not learned to rank" in text
    assert report(*runs, "--likeness", "x")[0] == 2


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
