"""Several verbs one after the other, and what all of them have in common."""

import re

import numpy as np
import pytest
from PIL import Image

from mrnn import __version__
from tests.conftest import COLOURS, lines_of

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
    settings = ["encoder.name=efficientnet-lite0", "training.epochs=2", "training.min_count=1",
                "model.recurrent_size=16", "model.multimodal_size=16"]  # fmt: skip
    settings = [part for setting in settings for part in ("--set", setting)]
    code, text, err = mrnn("train", "paper", "--data", data, "--out", out, *settings)
    assert code == 0
    assert re.search(r"^epoch  1  perplexity: train \d+\.\d\d, dev \d+\.\d\d", text)
    assert text.splitlines()[-1].startswith(f"{out}: the model of epoch ")
    assert not (out / "heads.safetensors").exists()
    assert "stop with Ctrl-C, go on with --resume" in err
    code, text, err = mrnn("caption", photos / "test_red.jpg", "--model", out)
    assert (code, err) == (0, "")
    assert text.startswith(f"{photos}/test_red.jpg: ")
    code, text, err = mrnn("evaluate", out, "--data", data, "--no-meteor", "--json")
    assert code == 0
    assert err.splitlines() == [
        "Note: meteor: not asked for",
        "Note: retrieval: This model has no retrieval head; run mrnn train-heads, or add "
        "--exhaustive",
    ]
    (report,) = lines_of(text)
    assert list(report)[:2] == ["perplexity", "generation"]
    assert 1 < report["perplexity"] < 20
    assert {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider"} <= set(report["generation"])
    assert report["settings"]["images"] == 3
    arguments = ("--data", data, "--split", "dev", "--limit", "2", "--no-meteor")
    code, text, _ = mrnn("evaluate", out, *arguments)
    assert code == 0
    assert re.search(
        r"^perplexity +\d+\.\d\d   \d+\.\d\d to \d+\.\d\d +words, <unk> and <eos> counted",
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


# Features made elsewhere


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("caption none.jpg --model {tmp}", r"{tmp} is not a trained model: it has no config\.json"),
        ("caption {tmp}/empty --model {model}", "empty: no photos in this folder; looked for"),
        ("caption {tmp}/*.gif --model {model}", r"\*\.gif: no photo matches; looked for"),
        ("caption {tmp} --model {model} --out {tmp}/x.txt", r"x\.txt: captions go to a \.jsonl or"),
        (
            "caption {tmp} --model {model} --out {tmp}/no/x.csv",
            r"no/x\.csv: there is no folder .*; make it",
        ),
        ("caption {tmp} --model {model} --beam-size 0", "--beam-size: expected greater"),
        ("caption {tmp} --model {model} --n-best 5000", "--n-best: expected less than"),
        ("check {tmp}", r"{tmp}: not a dataset folder \(dataset\.json: No such file"),
        ("prepare flickr {tmp} --images {tmp} --out {tmp}/x", r"no file \*\.token\*"),
        ("prepare flickr {tmp} --images {tmp}/y --out {tmp}/x", "y: no such folder of images"),
        (
            "extract {data} --encoder vgg",
            "The package ships no encoder 'vgg', only colour, efficient",
        ),
        (
            "extract {data} --encoder colour --resize-mode wide",
            "--resize-mode 'wide': the modes are crop, squash, pad, .*ten-crop",
        ),
        (
            "extract {data} --from f.npy --name x",
            "--from FEATURES, --ids IDS.txt and --name NAME go tog",
        ),
        (
            "extract {data} --from f.npy --ids {tmp}/none --name x --resize-mode pad",
            "--encoder, --resize-mode, --encoder-file and --weights do not go with --from",
        ),
        (
            "extract {data} --encoder vgg16 --weights {tmp}/none.pth",
            r"none\.pth: No such file or dir",
        ),
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
            r"training\.epochs: expected a whole number.*not 'none'",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set encoder.resize_mode=pad",
            "colour-pad does not exist; run: mrnn extract",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.learning_rate=1e38",
            r"The cost is (nan|inf) in epoch 1, in the batch",
        ),
        (
            "train {recipe} --data {data} --out {tmp}/r --set training.min_count=999",
            "no word occurs 999 times in the training captions; lower",
        ),
        ("train {recipe} --data {data} --out {recipe}", "is a file; give a folder to --out"),
        ("evaluate {model} --data {data} --split val", "no split 'val'; there are: train, dev"),
        ("evaluate {model} --data {bare} --split dev", "run: mrnn extract"),
        ("evaluate {tmp} --data {data} --split dev", "is not a trained model"),
    ],
)
def test_a_users_error_is_one_line(mrnn, model, dataset, recipe, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in ("dataset.json", "captions.jsonl"):
        (bare / file).write_bytes((dataset / file).read_bytes())
    places = {"tmp": tmp_path, "model": model, "data": dataset, "recipe": recipe, "bare": bare}
    code, out, err = mrnn(*[part.format(**places) for part in arguments.split()])
    assert (code, out) == (1, "")
    progress = ("go on with --resume", "Exporting vgg16")
    told = [line for line in err.splitlines() if not line.endswith(progress)]
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
        ["train", "paper"],
        ["prepare", "nonsense", "x", "--images", "y", "--out", "z"],
        ["evaluate", "--data", "x", "--task", "nonsense"],
        ["evaluate", "--data", "x", "--limit", "0"],
    ],
)
def test_wrong_usage_is_exit_2(mrnn, arguments):
    code, out, err = mrnn(*arguments)
    assert (code, out) == (2, "")
    assert "Usage:" in err


def test_the_version(mrnn):
    assert mrnn("--version") == (0, f"mrnn {__version__}\n", "")
