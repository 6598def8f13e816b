"""`mrnn score`, `mrnn compare`, and what `mrnn evaluate` has in common with them."""

import csv
import json
import re
import subprocess
import sys

import pytest

from mrnn.data.features import extract_features

IMAGES = range(8)
REFERENCES = {"annotations": [
    {"image_id": i, "caption": f"A {colour} wall number{i} in the sun." }
    for i in IMAGES for colour in ("red", "green", "blue", "grey", "white")
]}  # fmt: skip
A = [{"image_id": i, "caption": f"a red wall number{i}"} for i in IMAGES]
B = [{"image_id": i, "caption": "a red wall in the sun"} for i in IMAGES]


@pytest.fixture(autouse=True)
def files(monkeypatch, tmp_path):
    """A folder of captions, in which commands run."""
    for name, content in {"r": REFERENCES, "a": A, "b": B, "one": A[:1]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)


def test_score_prints_each_measure_with_what_it_depends_on(mrnn):
    code, out, err = mrnn("score", "a.json", "r.json", "--no-meteor")
    assert (code, err) == (0, "Note: meteor: not asked for\n")
    lines = out.splitlines()
    assert re.fullmatch(r" +c5   95 % interval    depends on", lines[1])
    names = [line.split()[0] for line in lines[2:11]]
    assert names == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D",
                     "CIDEr", "distinct"]  # fmt: skip
    figure = r"\d\.\d{3}   \d\.\d{3} to \d\.\d{3}"
    assert re.fullmatch(rf"BLEU-4 +{figure}   corpus, nearest reference length", lines[5])
    assert re.fullmatch(r"METEOR +n/a +corpus, METEOR 1\.5 for English", lines[6])
    assert re.search(r"document frequencies of these references$", lines[8])
    assert lines[11].startswith("images: 8; references: 40 (c5); words: PTB, lower case")
    assert lines[12].startswith("intervals: over images, 1,000 resamples, seed 0")


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


def test_compare_says_who_is_better_and_where(mrnn):
    code, out, _ = mrnn("compare", "a.json", "b.json", "r.json", "--no-meteor", "--top", "2")
    assert code == 0
    assert re.search(r"^CIDEr-D +\d\.\d{3} +\d\.\d{3} +[+-]\d\.\d{3} ", out, re.MULTILINE)
    line = r"^CIDEr-D: A is better by \d\.\d{3}, 95 % interval \d\.\d{3} to \d\.\d{3}$"
    assert re.search(line, out, re.MULTILINE)
    assert out.count("a red wall in the sun") == 2
    code, out, _ = mrnn("compare", "a.json", "a.json", "r.json", "--no-meteor")
    assert "CIDEr-D: no difference beyond chance, 95 % interval 0.000 to 0.000" in out
    assert "most ahead" not in out


def test_compare_as_json(mrnn):
    _, out, _ = mrnn("compare", "a.json", "b.json", "r.json", "--no-meteor", "--json")
    report = json.loads(out)
    assert list(report) == ["differences", "wins_a", "wins_b", "settings", "notes"]
    found = report["differences"]["cider"]
    assert found["difference"] == pytest.approx(found["a"] - found["b"])
    assert report["differences"]["meteor"] is None
    assert report["wins_a"][0]["b"] == "a red wall in the sun"
    assert report["wins_b"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("score none.json r.json", "none.json: cannot be read (No such file or directory)"),
        ("score a.json none", "none: expected a .json, .jsonl, .csv, .tsv or .txt file, or a"),
        ("score a.json r.json --frequencies a.json", "a.json: Input should be"),
        ("compare a.json b.json a.txt", "a.txt: cannot be read"),
        ("score a.json r.json --no-meteor --per-image no/where.csv", "there is no folder no;"),
        ("score a.json r.json --save-frequencies .", "--save-frequencies . is a folder; name a"),
        ("score a.json r.json --save-frequencies f --frequencies none", "none: cannot be read"),
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
        "import sys, mrnn.caption_scores, mrnn.comparison, mrnn.hypothesis_files; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def numbered(checkpoint, colour_encoder, tmp_path):
    """A dataset whose photos have the names of COCO's, and a model."""
    from PIL import Image

    from mrnn.data.dataset import CaptionedImage, Dataset, write_dataset

    images = []
    for i in range(3):
        path = tmp_path / f"COCO_val2014_{i + 40:012}.png"
        Image.new("RGB", (8, 8), (i * 80, 10, 10)).save(path)
        images.append(CaptionedImage(path.name, path, "test", ("a red wall", f"the wall is {i}")))
    write_dataset(images, tmp_path / "data", source="test", images_root=tmp_path)
    extract_features(Dataset.load(tmp_path / "data"), colour_encoder)
    checkpoint.save(tmp_path / "model")


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


def test_coco_results_into_no_folder(mrnn, numbered, tmp_path):
    arguments = ("evaluate", "model", "--data", "data", "--coco-results", "none/x.json")
    code, out, err = mrnn(*arguments)
    assert (code, out) == (1, "")
    assert err == "mrnn: --coco-results none/x.json: there is no folder none; make it first\n"


def test_coco_results_are_refused_before_the_work(mrnn, numbered, colours, colour_encoder):
    extract_features(colours, colour_encoder)
    arguments = ("evaluate", "model", "--data", colours.folder, "--split", "dev")
    code, _, err = mrnn(*arguments, "--coco-results", "x.json")
    assert (code, err) == (1, "mrnn: 'dev-00-red.png' holds no image id; the COCO server takes "
                              "whole numbers, as in COCO_val2014_000000391895.jpg\n")  # fmt: skip
    code, _, err = mrnn(*arguments, "--coco-results", "x.json", "--task", "perplexity")
    assert (code, err) == (
        1, "mrnn: --coco-results needs captions; give --task generation, or all\n"
    )  # fmt: skip
