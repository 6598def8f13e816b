"""`mrnn train-heads`."""

import re

import pytest

from mrnn.cli import terminal
from mrnn.errors import CheckpointError
from mrnn.locks import locked_folder
from mrnn.model.checkpoint import Checkpoint


def test_heads_are_trained_beside_the_network(mrnn, model, dataset):
    before = (model / "model.safetensors").read_bytes()
    arguments = ("train-heads", model, "--data", dataset, "--steps", "5")
    code, out, err = mrnn(*arguments)
    assert code == 0
    assert err.splitlines() == [
        "Training heads: 3 x 5 steps on cpu",
        "No confidence in captions: hold out photos, as by --set training.held_out=400",
        f"Next: mrnn evaluate {model} --data {dataset} --split dev",
    ]
    told = (
        r"retrieval weights \d+ \(sentence to image\) and \d+ \(image to sentence\) nats per unit "
        r"of similarity\n"
    )
    assert re.fullmatch(re.escape(f"{model}/heads.safetensors: ") + told, out)
    heads = (model / "heads.safetensors").read_bytes()
    assert Checkpoint.load(model).heads is not None
    assert (model / "model.safetensors").read_bytes() == before
    assert mrnn(*arguments)[1] == out
    assert (model / "heads.safetensors").read_bytes() == heads
    assert mrnn(*arguments, "--seed", "1")[0] == 0
    assert (model / "heads.safetensors").read_bytes() != heads


@pytest.mark.parametrize("content", [b"", None])
def test_heads_that_are_damaged_or_of_another_model_are_replaced(
    mrnn, model, dataset, heads, content
):
    heads.save(model, "another")
    if content is not None:
        (model / "heads.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"heads\.safetensors (is damaged|was made for an)"):
        Checkpoint.load(model)
    assert mrnn("train-heads", model, "--data", dataset, "--steps", "5")[0] == 0
    assert Checkpoint.load(model).heads is not None


def test_held_out_photos_give_confidence(mrnn, model, dataset):
    config = model / "config.json"
    config.write_text(config.read_text().replace('"held_out": 0', '"held_out": 6'))
    code, _, err = mrnn("train-heads", model, "--data", dataset, "--steps", "5")
    assert code == 0
    assert "confidence" not in err
    assert Checkpoint.load(model).heads.confidence is not None


def test_text_teaches_the_cider_predictor(mrnn, model, dataset, tmp_path):
    (tmp_path / "text.txt").write_text("a red wall here\n")
    arguments = ("train-heads", model, "--data", dataset, "--steps", "5")
    assert mrnn(*arguments)[0] == 0
    heads = (model / "heads.safetensors").read_bytes()
    assert mrnn(*arguments, "--text", tmp_path / "text.txt")[0] == 0
    assert (model / "heads.safetensors").read_bytes() != heads


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "ein Haus\n",
            "no word of the training captions is in it; is it text in another language?",
        ),
        ("", "no caption is in it; give a file with a caption a line"),
    ],
)
def test_bad_text(mrnn, model, dataset, tmp_path, content, problem):
    text = tmp_path / "text.txt"
    text.write_text(content)
    code, out, err = mrnn("train-heads", model, "--data", dataset, "--text", text)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == f"mrnn: {text}: {problem}"
    assert not (model / "heads.safetensors").exists()


def test_a_run_that_is_being_trained_gets_no_heads(mrnn, model, dataset):
    before = sorted(file.name for file in model.iterdir())
    with locked_folder(model):
        code, out, err = mrnn("train-heads", model, "--data", dataset, "--steps", "5")
    assert (code, out) == (1, "")
    assert err == (f"mrnn: {model} is being written by another mrnn; wait until it is done\n")
    assert sorted(file.name for file in model.iterdir()) == before


def test_a_folder_that_is_no_model(mrnn, dataset, tmp_path):
    code, out, err = mrnn("train-heads", tmp_path, "--data", dataset)
    assert (code, out) == (1, "")
    assert err.startswith(f"mrnn: {tmp_path} is not a trained model: it has no config.json. Give")


def test_without_torch(mrnn, model, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    code, out, err = mrnn("train-heads", model, "--data", tmp_path)
    assert (code, out) == (1, "")
    assert err == "mrnn: Training needs PyTorch. Run: pip install 'mrnn[train]'\n"
