import csv
import io
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, ColourEncoder
from PIL import Image

from mrnn import __version__, captioner
from mrnn.cli import main
from mrnn.cli.terminal import progress
from mrnn.dataset import Dataset
from mrnn.encoders import ENCODERS
from mrnn.features import extract_features


@pytest.fixture
def model(checkpoint, colour_encoder, tmp_path):
    """The folder of an untrained model of colours."""
    checkpoint.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def album(tmp_path):
    """A folder with photos whose names are a trial."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for name in ("a b.png", "comma, 'and' \"quotes\".png", "emoji 🐕.png", "sub/é.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 12), COLOURS["red"]).save(folder / name)
    return folder


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "colours.toml"
    path.write_text(
        'name = "colours"\n[encoder]\nname = "colour"\n'
        "[model]\nembedding_size = 8\nrecurrent_size = 12\nmultimodal_size = 16\n"
        '[training]\nbatch_size = 8\nepochs = 3\nlearning_rate = 0.02\nprecision = "float32"\n'
    )
    return path


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours.folder


def lines_of(text):
    return [json.loads(line) for line in text.split("\n")[:-1]]


# From a source to figures


def flickr_source(tmp_path):
    """Nine photos in three colours with captions, as Flickr8k is laid out."""
    generator = np.random.default_rng(0)
    source, photos = tmp_path / "text", tmp_path / "images"
    source.mkdir()
    photos.mkdir()
    tokens, lists = [], {"train": [], "dev": [], "test": []}
    for split, names in lists.items():
        for name, colour in COLOURS.items():
            photo = f"{split}_{name}.jpg"
            noise = generator.integers(-20, 20, (30, 40, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(photos / photo)
            tokens += [f"{photo}#{i}\tA {name} wall , number {split} ." for i in range(2)]
            names.append(photo)
        (source / f"Tiny.{split}Images.txt").write_text("\n".join(names) + "\n")
    (source / "Tiny.token.txt").write_text("\n".join(tokens) + "\n")
    return source, photos


def test_from_a_source_to_figures_with_a_real_encoder(mrnn, tmp_path):
    source, photos = flickr_source(tmp_path)
    data, out = tmp_path / "data", tmp_path / "run"
    code, text, err = mrnn("prepare", "flickr", source, "--images", photos, "--out", data)
    assert (code, text.splitlines()) == (
        0, [f"{split}: 3 images, 6 captions" for split in ("train", "dev", "test")]
    )  # fmt: skip
    assert err == f"Wrote {data}. Next: mrnn check {data}\n"
    code, text, _ = mrnn("check", data)
    assert code == 0
    assert "errors: 0" in text
    code, text, _ = mrnn("extract", data, "--encoder", "efficientnet-lite0")
    assert code == 0
    assert "9 features of efficientnet-lite0 (pooled, squash, 224 px" in text
    settings = ["encoder.name=efficientnet-lite0", "training.epochs=2", "training.minimum_count=1",
                "model.recurrent_size=16", "model.multimodal_size=16"]  # fmt: skip
    settings = [part for setting in settings for part in ("--set", setting)]
    code, text, err = mrnn("train", "paper-lite", "--data", data, "--out", out, *settings)
    assert code == 0
    assert re.search(r"^epoch  1  perplexity: train \d+\.\d\d, dev \d+\.\d\d", text)
    assert text.splitlines()[-1].startswith(f"{out}: the model of epoch ")
    assert not (out / "ranking.safetensors").exists()
    assert "stop with Ctrl-C, go on with --resume" in err
    code, text, err = mrnn("caption", photos / "test_red.jpg", "--model", out)
    assert (code, err) == (0, "")
    assert text.startswith(f"{photos}/test_red.jpg: ")
    code, text, err = mrnn("evaluate", out, "--data", data, "--no-meteor", "--json")
    assert code == 0
    notes = [f"Note: {note}" for note in ("meteor: not asked for", f"retrieval: {out}/ranking.saf")]
    assert all(map(str.startswith, err.splitlines(), notes))
    (report,) = lines_of(text)
    assert list(report)[:2] == ["perplexity", "generation"]
    assert 1 < report["perplexity"] < 20
    assert {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider"} <= set(report["generation"])
    assert report["settings"]["images"] == 3
    arguments = ("--data", data, "--split", "dev", "--limit", "2", "--no-meteor")
    code, text, _ = mrnn("evaluate", out, *arguments)
    assert code == 0
    assert re.search(
        r"^perplexity +\d+\.\d\d   \d+\.\d\d to \d+\.\d\d +words, unknown ones as one sign",
        text,
        re.MULTILINE,
    )
    assert re.search(r"^captions of people: \d+ words, of which", text, re.MULTILINE)
    assert re.search(r"^ +c2   95 % interval    depends on$", text, re.MULTILINE)
    assert re.search(r"^BLEU-4 +\d\.\d\d\d +\d\.\d\d\d to \d\.\d\d\d   corpus", text, re.MULTILINE)
    assert "images: 2; references: 4 (c2); words: PTB" in text
    assert "captions of the model: beam_size 3" in text


def test_captions_without_spaces_from_a_source_to_a_caption(
    mrnn, colours, colour_encoder, recipe, tmp_path
):
    chinese, table = {"red": "红", "green": "绿", "blue": "蓝"}, tmp_path / "walls.csv"
    rows = ["image,split,caption"]
    for image in colours.images:
        colour = chinese[image.path.stem.split("-")[2]]
        rows.append(f"{image.name},{image.split},一面{colour}色的墙。")
        rows.append(f"{image.name},{image.split},这面墙是{colour}色的")
    table.write_text("\n".join(rows), encoding="utf-8")
    data, out, photos = tmp_path / "chinese", tmp_path / "run", tmp_path / "photos"
    assert mrnn("prepare", "table", table, "--images", photos, "--out", data)[0] == 0
    assert "captions of 6 to 7 words" in mrnn("check", data)[1]
    assert mrnn("extract", data, "--encoder", "colour")[0] == 0
    settings = ("--set", "training.epochs=12", "--set", "training.patience=12")
    assert mrnn("train", recipe, "--data", data, "--out", out, *settings)[0] == 0
    _, text, _ = mrnn("caption", photos / "dev-00-red.png", "--model", out, "--json")
    assert lines_of(text)[0]["captions"][0]["text"] in ("一面红色的墙", "这面墙是红色的")
    _, text, _ = mrnn("caption", photos, "--model", out, "--prefix", "这面", "--n-best", "1")
    assert ": 这面墙是蓝色的\n" in text


def test_training_tells_and_resumes(mrnn, dataset, recipe, tmp_path):
    out = tmp_path / "run"
    arguments = ("train", recipe, "--data", dataset, "--out", out)
    code, text, err = mrnn(*arguments)
    assert code == 0
    assert [line[:8] for line in text.splitlines()[:3]] == ["epoch  1", "epoch  2", "epoch  3"]
    assert "10 words, float32. Writing to" in err
    code, _, err = mrnn(*arguments)
    assert (code, err) == (
        1,
        f"mrnn: {out} already holds a model; add --resume to go on, or give another folder to "
        "--out\n",
    )
    code, text, _ = mrnn(*arguments, "--resume")
    assert code == 0
    assert len(text.splitlines()) == 1
    code, _, err = mrnn(*arguments, "--resume", "--set", "training.epochs=9")
    assert code == 1
    assert "was begun with another recipe or other data (training.epochs); go on with those" in err
    typo = tmp_path / "rnu"
    code, _, err = mrnn(*arguments[:-1], typo, "--resume")
    assert (code, err) == (
        1, f"mrnn: {typo} does not exist, so no run can go on there; leave out --resume\n"
    )  # fmt: skip
    assert not typo.exists()


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
        r"^novel +\d\.\d{3} +share of captions that are no training", out, re.MULTILINE
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


# Captions


def test_json_is_an_object_a_photo_and_nothing_more(mrnn, model, album):
    bad = album / "bad.png"
    bad.touch()
    code, out, err = mrnn("caption", album, "--model", model, "--json", "--n-best", "2")
    results = lines_of(out)
    assert code == 1
    assert err == f"{bad}: empty, 0 bytes; copy the photo again\n" + (
        "1 of 5 photos could not be captioned\n"
    )
    assert [Path(result["image"]).name for result in results] == [
        *("a b.png", "bad.png", "comma, 'and' \"quotes\".png", "emoji 🐕.png", "é.png")
    ]
    for result in results:
        assert sorted(result) == ["captions", "error", "familiarity", "image"]
        if result["error"]:
            assert (result["captions"], result["familiarity"]) == ([], None)
            continue
        assert 0 <= result["familiarity"] <= 1
        assert len(result["captions"]) == 2
        for caption in result["captions"]:
            assert sorted(caption) == ["log_probability", "text", "words"]
            assert [sorted(word) for word in caption["words"]] == [
                ["log_probability", "word"] for _ in caption["words"]
            ]
            assert " ".join(word["word"] for word in caption["words"]) == caption["text"]
            assert sum(w["log_probability"] for w in caption["words"]) > caption["log_probability"]


def test_text_is_a_line_a_photo(mrnn, model, album):
    code, out, _ = mrnn("caption", album / "a b.png", album / "sub", "--model", model)
    assert code == 0
    lines = [line for line in out.splitlines() if not line.startswith("  (a guess")]
    assert [line.split(": ")[0] for line in lines] == [f"{album}/a b.png", f"{album}/sub/é.png"]
    _, out, _ = mrnn("caption", album / "a b.png", "--model", model, "--n-best", "3")
    first, *captions = out.splitlines()[:4]
    assert first == f"{album}/a b.png:"
    for rank, line in enumerate(captions, 1):
        assert re.match(rf"   {rank}  +-\d+\.\d\d  [a-z ]+$", line)


def test_a_strange_photo_is_said_to_be_a_guess(mrnn, model, album, tmp_path):
    code, out, _ = mrnn("caption", album / "a b.png", "--model", model, "--json")
    assert code == 0
    result = lines_of(out)[0]
    _, out, _ = mrnn("caption", album / "a b.png", "--model", model)
    assert ("a guess" in out) == (result["familiarity"] < 0.5)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_file_of_captions_goes_on_after_a_cut(mrnn, model, album, tmp_path, suffix):
    (album / "bad.png").touch()
    out = tmp_path / f"captions{suffix}"
    arguments = ("caption", album, "--model", model, "--out", out)
    code, text, _ = mrnn(*arguments)
    assert (code, text) == (1, "")
    whole = out.read_bytes()
    if suffix == ".csv":
        with out.open(newline="", encoding="utf-8") as file:
            images = [row["image"] for row in csv.DictReader(file)]
    else:
        images = [result["image"] for result in lines_of(whole.decode())]
    assert len(images) == len(set(images)) == 5
    for share in (0.1, 0.35, 0.6, 0.95):
        out.write_bytes(whole[: int(share * len(whole))])
        mrnn(*arguments)
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    for _ in range(2):
        code, _, err = mrnn(*arguments)
        assert code == 1
        assert err.startswith(f"{out}: 4 photos are done already\n{album}/bad.png: empty, 0 bytes")
        assert err.endswith("1 of 1 photos could not be captioned\n")
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    (album / "bad.png").write_bytes((album / "a b.png").read_bytes())
    assert mrnn(*arguments)[0] == 0
    mended = out.read_bytes()
    code, _, err = mrnn(*arguments)
    assert (code, err) == (0, f"{out}: 5 photos are done already\n")
    assert out.read_bytes() == mended


def test_a_sidecar_never_replaces_what_a_user_wrote(mrnn, model, album, monkeypatch):
    mine = album / "a b.txt"
    mine.write_text("my own words")
    code, out, err = mrnn("caption", album, "--model", model, "--sidecar")
    assert (code, out) == (0, "")
    stays = "Text files there already and stay; --overwrite replaces them: "
    assert err == f"Text files written: 3\n{stays}1\n"
    assert mine.read_text() == "my own words"
    with monkeypatch.context() as patch:  # what is there is not captioned again
        patch.setattr(captioner.Captioner, "stream", lambda _, photos, __: iter(photos))
        code, out, err = mrnn("caption", album, "--model", model, "--sidecar")
    assert (code, out, err) == (0, "", f"{stays}4\n")
    written = sorted(path.name for path in album.rglob("*.txt"))
    assert written == ["a b.txt", "comma, 'and' \"quotes\".txt", "emoji 🐕.txt", "é.txt"]
    assert mrnn("caption", album, "--model", model, "--sidecar", "--overwrite")[0] == 0
    assert mine.read_text() != "my own words"


def test_photos_of_one_name_do_not_share_a_sidecar(mrnn, model, tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        Image.new("RGB", (64, 64), "red").save(tmp_path / name)
    code, out, err = mrnn("caption", tmp_path, "--model", model, "--sidecar", "--overwrite")
    assert (code, out) == (1, "")
    assert err == (
        f"{tmp_path}/a.png: the text file cannot be written (that name is for a.jpg; rename one)\n"
        "Text files written: 2\nText files not written: 1\n"
    )
    assert sorted(file.name for file in tmp_path.glob("*.txt")) == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--overwrite"], "--overwrite replaces sidecars; give --sidecar too"),
        (
            ["--json", "--out", "x.csv"],
            "--json prints, and --out writes a file of its own form",
        ),
    ],
)
def test_options_that_would_not_count_are_refused(mrnn, album, options, message):
    code, out, err = mrnn("caption", album, *options)
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: {message}")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_one_file_has_one_number_of_captions_a_photo(mrnn, model, album, tmp_path, suffix):
    out = tmp_path / f"captions{suffix}"
    arguments = ("caption", album, "--model", model, "--out", out)
    assert mrnn(*arguments, "--n-best", 3)[0] == 0
    content = out.read_bytes()
    code, _, err = mrnn(*arguments, "--n-best", 1)
    assert code == 1
    told = f"{out} has up to 3 captions a photo, not 1; give another file, or --n-best 3"
    assert err == f"mrnn: {told}\n"
    assert out.read_bytes() == content


def test_what_is_printed_beside_a_bar_goes_to_stdout(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self):
            return True

    line = "photo.jpg: " + "a long caption that no line of a terminal holds, " * 5
    for out in (io.StringIO(), Screen()):
        err = Screen()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with progress("Captioning", 1) as advance:
            print(line)  # noqa: T201
            advance()
        assert "Captioning" in err.getvalue()
        where = err if out.isatty() else out  # a screen shows both
        assert f"{line}\n" in where.getvalue()


def test_the_version(mrnn):
    assert mrnn("--version") == (0, f"mrnn {__version__}\n", "")


def png_header(side):
    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_weight_that_cannot_count_is_told(mrnn, model, album):
    _, out, err = mrnn("caption", album, "--model", model, "--likeness", "1")
    assert "Note: likeness: left out, as the model has not learned to rank; run mrnn train-" in err
    assert out == mrnn("caption", album, "--model", model)[1]


def test_each_bad_photo_is_a_line_and_the_others_are_done(mrnn, model, album):
    good = album / "a b.png"
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(album / "cut.jpg")
    contents = {
        "text.jpg": b"not a photo",
        "cut.jpg": (album / "cut.jpg").read_bytes()[:900],
        "empty.jpg": b"",
        "huge.png": png_header(20_000),
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    for name, content in contents.items():
        (album / name).write_bytes(content)
    (album / "dangling.jpg").symlink_to(album / "nowhere.jpg")
    os.mkfifo(album / "pipe.jpg")
    bad = [album / name for name in (*contents, "dangling.jpg", "pipe.jpg", "missing.jpg")]
    paths = [good, *bad, album / "sub"]
    code, out, err = mrnn("caption", *paths, "--model", model, "--json")
    assert code == 1
    *told, summary = err.splitlines()
    assert len(told) == len(bad)
    for line, path in zip(told, bad, strict=True):
        assert line.startswith(f"{path}: ")
    assert summary == "8 of 10 photos could not be captioned"
    results = lines_of(out)
    assert [result["image"] for result in results] == [*map(str, paths[:-1]), f"{album}/sub/é.png"]
    assert [result["error"] for result in results if result["error"]] == told


def test_a_name_that_is_no_utf8(mrnn, model, album, tmp_path):
    odd = album / "caf\udce9.png"
    try:
        odd.write_bytes((album / "a b.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for kind in (["--json"], [], ["--out", tmp_path / "x.csv"], ["--sidecar"]):
        code, out, _ = mrnn("caption", odd, "--model", model, *kind)
        assert code == 0
        if "--json" in kind:
            assert lines_of(out)[0]["image"].endswith("caf\\udce9.png")
    code, _, err = mrnn("caption", odd, "--model", model, "--out", tmp_path / "x.csv")
    assert (code, err) == (0, f"{tmp_path}/x.csv: 1 photos are done already\n")
    assert odd.with_suffix(".txt").exists()


def test_a_page_of_text_in_the_demo_is_named_or_the_extra_is(mrnn, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    code, out, err = mrnn("demo")
    assert (code, out) == (1, "")
    assert err == "mrnn: The demo's photos need: pip install 'mrnn[demo]'\n"


# Features made elsewhere


def test_features_made_elsewhere_train_and_are_measured_but_see_no_photo(
    mrnn, dataset, recipe, tmp_path
):
    images = Dataset.load(dataset).images
    np.save(tmp_path / "f.npy", np.random.default_rng(0).random((len(images) + 1, 5)))
    (tmp_path / "ids.txt").write_text("\n".join([*(i.name for i in images), "other"]))
    given = ("--from", tmp_path / "f.npy", "--ids", tmp_path / "ids.txt", "--name", "mine")
    code, out, err = mrnn("extract", dataset, *given)
    file = dataset / "features" / "mine-imported.npy"
    assert (code, out) == (0, f"{file}: 30 features of mine (imported, 5 values)\n")
    assert err == f"1 rows are of no photo in {dataset}, as other\n"
    run = tmp_path / "run"
    changes = ("--set", "encoder.name=mine", "--set", "training.epochs=1")
    assert mrnn("train", recipe, "--data", dataset, "--out", run, *changes)[0] == 0
    code, out, _ = mrnn("evaluate", run, "--data", dataset, "--split", "dev")
    assert code == 0
    assert "mine (imported, 5 values)" in out
    code, out, err = mrnn("caption", images[0].path, "--model", run)
    assert (code, out) == (1, "")
    assert err.startswith("mrnn: There is no encoder for photos: the model takes features of mine")


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("caption none.jpg --model {tmp}", r"{tmp} is not a trained model: it has no config\.json"),
        ("caption {tmp}/empty --model {model}", "empty: no photos in this folder; looked for"),
        ("caption {tmp}/*.gif --model {model}", r"\*\.gif: no photo matches; looked for"),
        ("caption {tmp} --model {model} --out {tmp}/x.txt", r"x\.txt: captions go to a \.jsonl or"),
        ("caption {tmp} --model {model} --out {tmp}/no/x.csv", r"no/x\.csv: No such file or direc"),
        ("caption {tmp} --model {model} --beam-size 0", "beam_size: Input should be greater than"),
        ("caption {tmp} --model {model} --n-best 5000", "n_best: Input should be less than or eq"),
        ("check {tmp}", r"{tmp}: not a dataset folder \(dataset\.json: No such file"),
        ("prepare flickr {tmp} --images {tmp} --out {tmp}/x", r"no file \*\.token\*"),
        ("prepare flickr {tmp} --images {tmp}/y --out {tmp}/x", "y: no such folder of images"),
        ("extract {data} --encoder vgg", "There is no encoder 'vgg'; those there are: efficien"),
        (
            "extract {data} --encoder colour --fit wide",
            "fitted by crop, squash, pad, .*ten-crop, not by 'wide'",
        ),
        ("extract {data} --from f.npy --name x", "need all of --from FEATURES --ids IDS"),
        (
            "extract {data} --from f.npy --ids {tmp}/none --name x --fit pad",
            "--encoder, --fit and --weights do not go with --from",
        ),
        ("extract {data} --encoder vgg16 --weights {tmp}/none.pth", r"none\.pth: No such file"),
        (
            "train {recipe} --data {data} --out {tmp}/r --set encoder.name=vgg16-fc8",
            "has no features named 'vgg16-fc8', and no encoder is; it has colour-squash",
        ),
        ("train nonsense --data {data} --out {tmp}/r", "There is no recipe nonsense; give a file"),
        ("train {recipe} --data {tmp} --out {tmp}/r", "not a dataset folder"),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.epoch=3",
            r"there is no key training\.epoch; did you mean .*epochs\?",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.epochs=none",
            r"training\.epochs: Input should be a valid integer.*not 'none'",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set encoder.fit=pad",
            r"colour-squash\.npy|Run: mrnn extract",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.learning_rate=1e38",
            r"The cost is (nan|inf) in epoch 1, in the batch",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.minimum_count=999",
            "No word is 999 times in the training captions",
        ),
        ("train {recipe} --data {data} --out {recipe}", "is a file; give a folder to --out"),
        ("evaluate {model} --data {data} --split val", "no split 'val'; there are: train, dev"),
        ("evaluate {model} --data {bare} --split dev", "Run: mrnn extract"),
        ("evaluate {tmp} --data {data} --split dev", "is not a trained model"),
    ],
)
def test_a_users_error_is_one_line(mrnn, model, dataset, recipe, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in ("dataset.json", "captions.jsonl"):
        (bare / file).write_bytes((dataset / file).read_bytes())
    if "fit=pad" in arguments:  # the fake has one fit, so its features are taken away instead
        (dataset / "features" / "colour-squash.npy").unlink()
    places = {"tmp": tmp_path, "model": model, "data": dataset, "recipe": recipe, "bare": bare}
    code, out, err = mrnn(*[part.format(**places) for part in arguments.split()])
    assert (code, out) == (1, "")
    told = [line for line in err.splitlines() if not line.endswith("go on with --resume")]
    assert len(told) == 1
    assert told[0].startswith("mrnn: ")
    assert re.search(message.replace("{tmp}", re.escape(str(tmp_path))), told[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["caption"],
        ["caption", "a.jpg", "--nonsense"],
        ["caption", "a.jpg", "--beam-size", "many"],
        ["train", "paper-lite"],
        ["prepare", "nonsense", "x", "--images", "y", "--out", "z"],
        ["evaluate", "--data", "x", "--task", "nonsense"],
        ["evaluate", "--data", "x", "--limit", "0"],
    ],
)
def test_wrong_usage_is_exit_2(mrnn, arguments):
    code, out, err = mrnn(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_check_fails_on_errors(mrnn, colours):
    colours.images[0].path.write_bytes(b"")
    code, out, _ = mrnn("check", colours.folder)
    assert code == 1
    assert "error: images of train broken (1)" in out


# Interrupted, and full disks: in processes of their own

BOOT = """
import resource, signal, sys, time
tests, limit = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
sys.path.insert(0, tests)
from conftest import ColourEncoder
from mrnn.cli import main
from mrnn.encoders import ENCODERS

class SlowEncoder(ColourEncoder):
    def encode(self, pixels):
        time.sleep(0.2)
        return super().encode(pixels)

ENCODERS["colour"] = lambda fit: SlowEncoder()
signal.signal(signal.SIGINT, signal.default_int_handler)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
main()
"""


def start(*arguments, limit=0, stdout=subprocess.PIPE):
    command = [sys.executable, "-c", BOOT, str(Path(__file__).parent), str(limit)]
    return subprocess.Popen(
        [*command, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def interrupt_when(process, ready):
    """Ctrl-C as soon as `ready()`; what was printed afterwards."""
    deadline = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def test_ctrl_c_in_training_keeps_what_is_finished(mrnn, dataset, recipe, tmp_path):
    out = tmp_path / "run"
    arguments = ["train", recipe, "--data", dataset, "--out", out]
    arguments += ["--set", "training.epochs=100000", "--set", "training.patience=100000"]
    process = start(*arguments)
    _, err = interrupt_when(process, (out / "model.safetensors").exists)
    assert process.returncode == 130
    first, *told = [line for line in err.splitlines() if not line.startswith("Warning: ")]
    assert first.endswith("stop with Ctrl-C, go on with --resume")
    assert told == ["mrnn: interrupted; what was finished is kept"]
    photo = next((dataset.parent / "photos").iterdir())
    assert mrnn("caption", photo, "--model", out)[0] == 0


def test_ctrl_c_in_captioning_keeps_what_is_finished(mrnn, model, tmp_path):
    photos = tmp_path / "many"
    photos.mkdir()
    Image.new("RGB", (9, 9)).save(photos / "0000.png")
    for index in range(1, 1000):
        os.link(photos / "0000.png", photos / f"{index:04}.png")
    out = tmp_path / "captions.jsonl"
    process = start("caption", photos, "--model", model, "--out", out)
    _, err = interrupt_when(process, lambda: out.exists() and b"\n" in out.read_bytes())
    assert process.returncode == 130
    assert err == "mrnn: interrupted; what was finished is kept\n"
    results = lines_of(out.read_text())
    assert 1 <= len(results) < 1000
    assert [Path(r["image"]).name for r in results] == [f"{i:04}.png" for i in range(len(results))]
    some = sorted(photos.iterdir())[: len(results) + 3]
    code, _, err = mrnn("caption", *some, "--model", model, "--out", out)
    assert code == 0
    assert err == (
        f"{out}: {len(results)} photos are done already\nWrote {out}: 3 photos captioned\n"
    )
    assert [Path(r["image"]) for r in lines_of(out.read_text())] == some


def caption_slowly(photos, model, out):
    """In a process of its own: batches of two photos, 10 ms each."""
    captioner.BATCH = 2
    encoder = ColourEncoder()
    encoder.preprocess = lambda photo: time.sleep(0.005) or ColourEncoder.preprocess(encoder, photo)
    ENCODERS["colour"] = lambda fit: encoder
    options = ["--model", str(model), "--out", str(out), "--n-best", "2"]
    sys.argv = ["mrnn", "caption", str(photos), *options]
    sys.stderr = io.StringIO()
    main()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_captioning_killed_at_ten_random_moments_ends_as_if_left_alone(
    killed, colours, model, tmp_path, suffix
):
    photos, whole, moments = tmp_path / "photos", tmp_path / f"whole{suffix}", random.Random(0)
    assert not killed(60, caption_slowly, photos, model, whole)
    kills = 0
    for attempt in range(20):
        out = tmp_path / f"left-{attempt}{suffix}"
        while killed(moments.uniform(0, 0.3), caption_slowly, photos, model, out):
            kills += 1
        assert out.read_bytes() == whole.read_bytes()
        if kills >= 10:
            break
    assert kills >= 10


def fails_with_one_line(process, problem):
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    told = [line for line in err.splitlines() if not line.endswith("go on with --resume")]
    assert len(told) == 1
    assert re.fullmatch(rf"mrnn: .*: {problem}", told[0])


def test_a_disk_that_fills_up_in_captioning(model, album, tmp_path):
    out = tmp_path / "captions.jsonl"
    process = start("caption", album, "--model", model, "--out", out, limit=700)
    fails_with_one_line(process, "File too large")
    assert out.stat().st_size == 700


def test_a_disk_that_fills_up_in_training(dataset, recipe, tmp_path):
    process = start("train", recipe, "--data", dataset, "--out", tmp_path / "r", limit=1000)
    fails_with_one_line(process, "File too large")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("kind", ["caption --json", "check"])
def test_output_that_cannot_be_written(model, album, dataset, kind):
    arguments = [dataset] if kind == "check" else [album, "--model", model]
    with Path("/dev/full").open("w") as full:
        process = start(*kind.split(), *arguments, stdout=full)
        fails_with_one_line(process, "No space left on device")


def test_a_reader_that_goes_away_is_no_reason_to_complain(model, album):
    process = start("caption", album, "--model", model)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.returncode == 1
    assert process.stderr.read() == ""
    process.stderr.close()


# Consensus


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
