"""Inputs of public reports. They need MRNN_DATA, the folder that holds cases/."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture
def case(monkeypatch, tmp_path):
    """Gives a copy of a case's folder, in which commands then run."""

    def copy(name):
        folder = os.environ.get("MRNN_DATA")
        if not folder:
            pytest.skip("MRNN_DATA, the folder of real data, is not set")
        found = Path(folder, "cases", name)
        if not found.is_dir():
            pytest.skip(f"{found} is not there")
        shutil.copytree(found, tmp_path / name)
        subprocess.run(["chmod", "-R", "u+w", tmp_path / name], check=True)
        monkeypatch.chdir(tmp_path / name)
        return tmp_path / name

    return copy


def captioned(mrnn, *arguments):
    """The captions of photos, by name, and what was told."""
    code, out, err = mrnn("caption", "--json", *arguments)
    results = [json.loads(line) for line in out.splitlines()]
    return code, {Path(each["image"]).name: each for each in results}, err


def test_01_a_png_with_much_metadata(case, mrnn):
    case("01-png-big-metadata")
    code, results, _ = captioned(mrnn, ".")
    assert code == 0
    assert all(each["captions"] for each in results.values())


def test_02_a_heic_and_a_jpeg_of_one_name(case, mrnn):
    folder = case("02-heic-jpg-pair")
    mrnn("caption", "pair", "--sidecar")
    for photo in (folder / "pair").glob("*.[jJ][pP][gG]"):
        assert photo.with_suffix(".txt").read_text().strip()


def test_03_avif(case, mrnn):
    case("03-avif")
    code, results, _ = captioned(mrnn, ".")
    assert code == 0
    assert len(results) == 2
    assert len({each["captions"][0]["text"] for each in results.values()}) == 1


def test_04_a_phones_108_megapixels(case, mrnn):
    folder = case("04-phone-108-megapixels")
    Image.new("RGB", (12_000, 9_000), "teal").save(folder / "big.jpg", quality=30)
    code, results, _ = captioned(mrnn, "big.jpg")
    assert code == 0
    assert results["big.jpg"]["captions"]


def test_10_json_to_a_pipe_that_is_not_utf8(case):
    case("10-json-to-a-pipe-that-is-not-utf8")
    photo = "dog🐕é.png"
    Image.new("RGB", (9, 9), "red").save(photo)
    for coding in ("cp1252", "ascii"):
        run = subprocess.run(
            [sys.executable, "-m", "mrnn", "caption", photo, "--json"],
            env=os.environ | {"PYTHONIOENCODING": coding}, capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(run.stdout.decode("ascii"))["image"] == photo


def test_11_two_captions_one_out(case, mrnn):
    case("11-two-captions-one-out")
    command = [sys.executable, "-m", "mrnn", "caption", "ph2", "--out", "new.csv"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert any("is being written by another mrnn" in err for err in told)
    rows = list(csv.DictReader(Path("new.csv").read_text().splitlines()))
    photos = list(Path("ph2").iterdir())
    assert sorted(row["image"] for row in rows) == sorted(map(str, photos))
    first = Path("new.csv").read_text().splitlines()[1]
    with Path("new.csv").open("a") as file:
        file.write(f"{first}\n")
    code, _, err = mrnn("caption", "ph2", "--out", "new.csv")
    assert code == 1
    assert "is in line 2 already" in err


def test_12_resume_by_another_path(case, mrnn):
    folder = case("12-resume-by-another-path")
    (folder / "photos").mkdir()
    for name in ("p00.jpg", "p01.jpg"):
        Image.new("RGB", (9, 9), "red").save(folder / "photos" / name)
    assert mrnn("caption", "photos/p00.jpg", "photos/p01.jpg", "--out", "new.csv")[0] == 0
    before = Path("new.csv").read_bytes()
    code, _, err = mrnn("caption", *(folder / "photos").iterdir(), "--out", "new.csv")
    assert code == 0
    assert "2 photos are done already" in err
    assert Path("new.csv").read_bytes() == before


def test_15_a_subfolder_that_cannot_be_listed(case, monkeypatch, mrnn):
    case("15-unreadable-subfolder")
    Path("lib/lost+found").mkdir()
    Path("lib/mine").mkdir()
    Image.new("RGB", (9, 9), "red").save("lib/mine/inside.jpg")
    scandir = os.scandir

    def refuse(path="."):
        if os.fspath(path).endswith("mine"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, results, err = captioned(mrnn, "lib")
    assert code == 1
    assert results
    assert all(each["captions"] for each in results.values())
    assert "mine: cannot list this folder" in err


def test_16_system_thumbnails(case, mrnn):
    case("16-system-thumbnails")
    _, results, _ = captioned(mrnn, "lib")
    assert results
    assert not [each for each in results.values() if "@eaDir" in each["image"]]
    assert not [each for each in results.values() if "#recycle" in each["image"]]
    code, out, _ = mrnn("caption", "--json", "lib", "--exclude", "local")
    assert code == 0
    assert "local" not in out


def test_17_kaggles_flickr30k(case, mrnn):
    folder = case("17-kaggle-flickr30k-results-csv")
    photos_of(folder / "results.csv", "|")
    code, out, err = mrnn("prepare", "table", "results.csv", "--images", "photos", "--out", "d")
    assert code == 0, err
    assert "captions" in out
    code, _, err = mrnn(
        "prepare", "table", "results_badrow.csv", "--images", "photos", "--out", "e"
    )
    assert code == 0 or "results_badrow.csv:" in err


def photos_of(table, delimiter):
    """The photos that a table names, in photos/."""
    Path("photos").mkdir(exist_ok=True)
    for row in table.read_text().splitlines()[1:]:
        Image.new("RGB", (9, 9), "red").save(Path("photos", row.split(delimiter)[0].strip('"')))


@pytest.mark.parametrize(
    ("table", "delimiter"), [("semicolon.csv", ";"), ("tabs.csv", "\t"), ("utf16.csv", ",")]
)
def test_18_other_delimiters(case, mrnn, table, delimiter):
    folder = case("18-other-delimiters")
    photos_of(folder / "semicolon.csv", ";")
    code, _, err = mrnn("prepare", "table", table, "--images", "photos", "--out", "d")
    assert code == 0, err


def test_22_broken_photos_in_a_dataset(case, mrnn):
    case("22-broken-photos-in-a-dataset")
    code, _, err = mrnn("prepare", "table", "captions.csv", "--images", "bp", "--out", "d")
    assert code == 0, err
    assert mrnn("check", "d", "--broken", "broken.txt")[0] == 1
    lines = Path("broken.txt").read_text().splitlines()
    broken = [line for line in lines if not line.startswith("#")]
    assert len(broken) == 6
    options = ["--out", "e", "--leave-out-file", "broken.txt"]
    assert mrnn("prepare", "table", "captions.csv", "--images", "bp", *options)[0] == 0
    assert mrnn("check", "e", "--broken", "none.txt")[1].count("broken") == 0


def test_23_the_suffix_of_captions(case, mrnn):
    folder = case("23-caption-suffix")
    assert mrnn("prepare", "folder", "ko", "--images", "ko", "--out", "t")[0] == 0
    for text in folder.rglob("*.txt"):
        text.rename(text.with_suffix(".caption"))
    code, _, err = mrnn("prepare", "folder", "ko", "--images", "ko", "--out", "d")
    assert code == 1
    assert ".txt" in err
    assert "ko" in err
    options = ["--images", "ko", "--out", "d", "--suffix", ".caption"]
    code, _, err = mrnn("prepare", "folder", "ko", *options)
    assert code == 0, err


@pytest.mark.parametrize("hypotheses", ["h_dict.json", "h_dict2.json", "h_wrapped.json"])
def test_25_dictionaries_of_the_scorer(case, mrnn, hypotheses):
    case("25-score-dictionaries")
    code, _, err = mrnn("score", hypotheses, "refs.json", "--no-meteor")
    assert code == 0, err


def test_27_an_output_over_an_input(case, mrnn):
    folder = case("27-output-over-an-input")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for options in (
        ("h_bom.csv", "refs.json", "--per-image", "h_bom.csv"),
        ("h_bom.csv", "refs.json", "--save-frequencies", "refs.json"),
    ):
        code, _, err = mrnn("score", *options, "--no-meteor", "--overwrite")
        assert code == 1
        assert "is an input of this command" in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_28_two_trainings_one_out(case, dataset, recipe, tmp_path):
    case("28-two-trainings-one-out")
    command = [sys.executable, "-c", TRAIN, str(Path(__file__).parents[2]), recipe, dataset]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    assert any("is being written by another mrnn" in err for err in told)
    epochs = [
        json.loads(line)["epoch"] for line in Path("run/metrics.jsonl").read_text().splitlines()
    ]
    assert epochs == sorted(set(epochs))


TRAIN = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.model.tiny_encoder import write_colour_encoder
from mrnn.cli import main
from mrnn.model import image_encoder
image_encoder.SHIPPED = Path(tempfile.mkdtemp())
write_colour_encoder(image_encoder.SHIPPED / "colour.onnx")
sys.argv = ["mrnn", "train", sys.argv[2], "--data", sys.argv[3], "--out", "run"]
sys.argv += ["--set", "training.epochs=30", "--set", "training.patience=30"]
main()
"""
