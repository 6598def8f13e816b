"""`mrnn train`."""

import re
import sys

import pytest

from mrnn.cli import terminal
from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features
from mrnn.errors import DataError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.image_encoder import open_encoder
from tests.model.tiny_encoder import write_colour_encoder


@pytest.fixture
def train(mrnn, dataset, recipe, tmp_path):
    """`mrnn train` into the folder `run`."""

    def run(*more, out=tmp_path / "run"):
        return mrnn("train", recipe, "--data", dataset, "--out", out, *more)

    return run


def test_epochs_go_to_stdout_and_all_else_to_stderr(train, dataset, tmp_path):
    code, out, err = train()
    assert code == 0
    number = r"\d+\.\d\d"
    line = (
        rf"epoch  \d  perplexity: train {number}, dev {number} \(with other photos \d+\.\d\)  "
        r"greedy: BLEU-4 \d\.\d{3}, CIDEr \d\.\d{3}, \d+% distinct  [\d,]+ words/s(  \*)?"
    )
    *epochs, last = out.splitlines()
    assert [re.fullmatch(line, epoch) is None for epoch in epochs] == 3 * [False]
    run = tmp_path / "run"
    assert re.fullmatch(rf"{run}: the model of epoch \d, dev perplexity {number}", last)
    first, *warnings, last = err.splitlines()
    assert first == (
        "1,014 weights, 10 words, float32 on cpu. "
        f"Writing to {run}; stop with Ctrl-C, go on with --resume"
    )
    assert all(warning.startswith("Warning: ") for warning in warnings)
    assert last == (
        f"Next: mrnn evaluate {run} --data {dataset} --split dev; mrnn caption PHOTO --model {run}"
    )
    assert not (run / "heads.safetensors").exists()


def test_a_recipe_may_have_heads(train, recipe, tmp_path):
    with recipe.open("a") as file:
        file.write("[joint_embedding]\nparts = 2\nsteps = 3\nsize = 4\n")
    code, out, err = train()
    assert code == 0
    assert out.splitlines()[-1].startswith(f"{tmp_path}/run/heads.safetensors: retrieval weights ")
    assert "Training heads: 2 x 3 steps on cpu\n" in err
    assert Checkpoint.load(tmp_path / "run").heads.joint_embedding.parts == 2


def test_a_folder_has_one_writer_until_its_heads_are_trained(
    train, recipe, dataset, tmp_path, monkeypatch
):
    module = sys.modules["mrnn.cli.train"]
    with recipe.open("a") as file:
        file.write("[joint_embedding]\nparts = 1\nsteps = 3\nsize = 4\n")
    refused, original = [], module.heads_progress

    def while_heads_are_trained(*arguments):
        for more in ([], ["--resume"]):
            with pytest.raises(DataError) as error:
                module.train(str(recipe), dataset, tmp_path / "run", resume=bool(more))
            refused.append(str(error.value))
        return original(*arguments)

    monkeypatch.setattr(module, "heads_progress", while_heads_are_trained)
    assert train()[0] == 0
    assert refused == 2 * [
        f"{tmp_path}/run is being written by another mrnn; wait until it is done"
    ]
    assert Checkpoint.load(tmp_path / "run").heads is not None


def test_a_run_is_resumed_and_never_overwritten(train, tmp_path):
    out = tmp_path / "run"
    assert train()[0] == 0
    code, _, err = train()
    assert (code, err) == (
        1,
        f"mrnn: {out} already holds a model; add --resume to continue its training, or give "
        "another folder to --out\n",
    )
    code, text, _ = train("--resume")
    assert code == 0
    assert len(text.splitlines()) == 1
    code, _, err = train("--resume", "--set", "training.epochs=9")
    assert code == 1
    assert "was started with another recipe or other data (changed: training.epochs); res" in err
    typo = tmp_path / "rnu"
    code, _, err = train("--resume", out=typo)
    assert (code, err) == (
        1, f"mrnn: {typo} does not exist, so no run can go on there; leave out --resume\n"
    )  # fmt: skip
    assert not typo.exists()


def test_text_is_learned_first(train, tmp_path):
    files = [tmp_path / "a.tsv", tmp_path / "b.txt"]
    files[0].write_text("x\tA red wall .\nx\tA red wall here .\n")
    files[1].write_text("the wall is here\n")
    given = ["--text", files[0], "--text", files[1], "--set", "text.epochs=2"]
    code, out, err = train(*given)
    assert code == 0
    number = r"\d+\.\d\d"
    line = rf"text {{}}/2  perplexity: text {number}, dev without photos {number}  [\d,]+ words/s"
    first, second, third, *_ = out.splitlines()
    assert re.fullmatch(line.format(1), first)
    assert re.fullmatch(line.format(2), second)
    assert third.startswith("epoch  1")
    assert err.splitlines()[1] == (
        "Text first: 2 captions without photos, 2 epochs; left out: 1 of photos that are not "
        "trained on"
    )
    files[1].write_text("ein Haus\n")
    assert train(*given, out=tmp_path / "other")[::2] == (
        1,
        f"mrnn: {files[1]}: no word of the training captions is in it; is it text in another "
        "language?\n",
    )


def test_a_device_that_is_not_there(train, mrnn, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused = (
        1,
        "mrnn: --device mps: PyTorch finds no such device here; give auto, or one of cpu\n",
    )
    assert train("--device", "mps")[::2] == refused
    code, _, err = train("--device", "auto")
    assert code == 0
    assert "float32 on cpu. " in err
    heads = ("train-heads", tmp_path / "run", "--data", dataset, "--device", "mps")
    assert mrnn(*heads)[::2] == refused


def test_a_line_is_told_now_and_then(train, monkeypatch):
    monkeypatch.setattr(terminal, "SECONDS_A_LINE", 0)
    told = [line for line in train()[2].splitlines() if line.startswith("Training: ")]
    assert len(told) == 18
    assert re.fullmatch(r"Training: step 7 of 18, [\d,]+ words/s, \d\.\d\d bits a word", told[6])


def test_figures_go_to_tensorboard(train, tmp_path):
    pytest.importorskip("tensorboard", reason="needs mrnn[tensorboard]")
    code, _, err = train("--tensorboard")
    folder = tmp_path / "run" / "tensorboard"
    assert code == 0
    assert f"Figures go to {folder}; look at them with: tensorboard --logdir {folder}\n" in err
    assert list(folder.glob("events.*"))


def test_what_captions_by_an_encoder_of_a_file(mrnn, colours, recipe, tmp_path):
    file = write_colour_encoder(tmp_path / "vgg16.onnx", name="vgg16")
    extract_features(colours, open_encoder(file, "squash"))
    given = ("--data", colours.folder, "--out", tmp_path / "run", "--set", "encoder.name=vgg16")
    code, _, err = mrnn("train", recipe, *given)
    assert code == 0
    assert err.endswith(f"; mrnn caption PHOTO --model {tmp_path}/run --encoder-file FILE\n")


def test_without_torch(train, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    code, out, err = train()
    assert (code, out) == (1, "")
    assert err == "mrnn: Training needs PyTorch. Run: pip install 'mrnn[train]'\n"
    assert not (tmp_path / "run").exists()


def test_the_data_may_move_between_interruption_and_resumption(train, mrnn, dataset, tmp_path):
    """The run knows captions and features, not where they are."""
    assert train()[0] == 0
    dataset.rename(tmp_path / "elsewhere")
    assert len(Dataset.load(tmp_path / "elsewhere").images) == 30
    arguments = ("--data", tmp_path / "elsewhere", "--out", tmp_path / "run", "--resume")
    assert mrnn("train", tmp_path / "colours.toml", *arguments)[0] == 0
