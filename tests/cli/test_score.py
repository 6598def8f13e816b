"""`mrnn score`."""

import csv
import json
import re
import subprocess
import sys

import pytest

from tests.cli.conftest import IMAGES, A

pytestmark = pytest.mark.usefixtures("caption_files")


def test_score_prints_each_measure_with_what_it_depends_on(mrnn):
    code, out, err = mrnn("score", "a.json", "r.json", "--no-meteor")
    assert (code, err) == (0, "Note: meteor: not asked for\n")
    lines = out.splitlines()
    assert re.fullmatch(r" +c5   95 % interval    depends on", lines[1])
    names = [line.split()[0] for line in lines[2:14]]
    assert names == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D",
                     "CIDEr", "invented", "person/dog", "things", "distinct"]  # fmt: skip
    figure = r"\d\.\d{3}   \d\.\d{3} to \d\.\d{3}"
    assert re.fullmatch(rf"BLEU-4 +{figure}   corpus, nearest reference length", lines[5])
    assert re.fullmatch(r"METEOR +n/a +corpus, METEOR 1\.5 for English", lines[6])
    assert re.search(r"document frequencies of these references$", lines[8])
    assert re.match(r"person/dog +\d+   \d+ to \d+ +captions that invent a person", lines[11])
    assert lines[14].startswith("images: 8; references: 40 (c5); words: PTB, lower case")
    assert lines[15].startswith("intervals: over images, 1,000 resamples, seed 0")


def test_score_as_json_has_the_shape_of_evaluate(mrnn):
    code, out, _ = mrnn("score", "a.json", "r.json", "--no-meteor", "--json")
    report = json.loads(out)
    assert code == 0
    assert list(report) == ["generation", "settings", "intervals", "notes"]
    assert report["generation"]["meteor"] is None
    assert report["notes"] == ["meteor: not asked for"]
    low, high = report["intervals"]["cider"]
    assert 0 < low <= report["generation"]["cider"] <= high


def test_references_are_drawn_as_asked(mrnn):
    common = ("score", "a.json", "r.json", "--no-meteor", "--references", "2")
    code, out, _ = mrnn(*common)
    assert code == 0
    assert re.fullmatch(r" +c2   95 % interval    depends on", out.splitlines()[1])
    assert "references: 16 (c2, 2 sampled of more, seed 0); words" in out
    settings = json.loads(mrnn(*common, "--json")[1])["settings"]
    assert (settings["sampled_references"], settings["sampling_seed"]) == (2, 0)
    assert mrnn(*common, "--seed", "0")[1] == out != mrnn(*common, "--seed", "1")[1]
    _, _, err = mrnn("score", "a.json", "r.json", "--references", "40", "--no-meteor")
    assert "Note: fewer than 40 references: 8 (0, 1, 2 and 5 more)" in err


def test_what_is_left_out_is_told(mrnn, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps([*A[:6], {"image_id": 99, "caption": "x"}]))
    code, out, err = mrnn("score", "other.json", "r.json", "--no-meteor", "--json")
    assert code == 0
    notes = json.loads(out)["notes"]
    assert notes[:2] == [
        "left out, captions in other.json of images that the references do not have: 1 (99)",
        "left out, images without a caption in other.json: 2 (6, 7)",
    ]
    assert err == "".join(f"Note: {note}\n" for note in notes)


def test_one_image_is_scored_with_saved_frequencies(mrnn, tmp_path):
    code, out, err = mrnn("score", "one.json", "r.json", "--no-meteor", "--json")
    assert (code, json.loads(out)["generation"]["cider"]) == (0, 0)
    assert "Note: cider: 0 on one image by itself" in err
    mrnn("score", "a.json", "r.json", "--no-meteor", "--save-frequencies", "df.json")
    arguments = ("score", "one.json", "r.json", "--no-meteor", "--json", "--frequencies", "df.json")
    code, out, err = mrnn(*arguments)
    report = json.loads(out)
    assert report["generation"]["cider"] > 1
    assert report["settings"]["document_frequencies_of"] == "8 given images"
    assert "cider" not in err


def test_scores_of_every_image(mrnn, tmp_path):
    mrnn("score", "a.json", "r.json", "--no-meteor", "--per-image", "images.csv")
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(i) for i in IMAGES]
    assert rows[3]["caption"] == "a red wall number3"
    _, out, _ = mrnn("score", "a.json", "r.json", "--no-meteor", "--json")
    mean = sum(float(row["cider"]) for row in rows) / len(rows)
    assert mean == pytest.approx(json.loads(out)["generation"]["cider"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("score none.json r.json", "none.json: cannot be read (No such file or directory)"),
        ("score a.json none", "none: expected a .json, .jsonl, .csv, .tsv, .parquet or .txt"),
        ("score a.json r.json --frequencies a.json", "a.json: format None; this version"),
        ("score a.json r.json --no-meteor --per-image no/where.csv", "there is no folder no;"),
        ("score a.json r.json --save-frequencies .", "--save-frequencies . is a folder; name a"),
        (
            "score a.json r.json --save-frequencies f --frequencies none",
            "none: is missing; write",
        ),
    ],
)
def test_errors_are_one_line(mrnn, tmp_path, arguments, message):
    code, out, err = mrnn(*arguments.split())
    assert (code, out) == (1, "")
    assert message in err
    assert err.startswith("mrnn: ")
    assert err.count("\n") == 1
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", "b.json", "one.json", "r.json"}


def test_scoring_needs_no_torch():
    code = (
        "import sys, mrnn.evaluation.captions, mrnn.evaluation.comparison, "
        "mrnn.data.caption_reader; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
