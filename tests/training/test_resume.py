import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.errors import CheckpointError, DataError, OptionsError, TrainingError
from mrnn.locks import locked_folder
from mrnn.model.checkpoint import Checkpoint
from mrnn.training.events import RunFinished, RunStarted
from mrnn.training.network import TorchLanguageModel
from mrnn.training.recipe import Recipe
from mrnn.training.resume import add_metrics, cut_metrics
from mrnn.training.train import train
from tests.torch_network import torch_network
from tests.training.test_devices import DEVICES
from tests.training.test_train import epochs_of, metrics, recipe, run, weights


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


# What is refused


def test_a_folder_that_holds_a_model_is_not_written_over(dataset, tmp_path):
    out = tmp_path / "run"
    run(dataset, out, epochs=1)
    before = weights(out)
    with pytest.raises(
        TrainingError, match=r"run already holds a model; add --resume to continue its training, or"
    ):
        run(dataset, out, epochs=1, seed=1)
    (out / "resume" / "state.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"run holds a model, but no resume.state\.safetensors"):
        run(dataset, out, epochs=1, seed=1, resume=True)
    assert weights(out) == before


def test_a_file_is_not_a_folder(dataset, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(TrainingError, match=r"run is a file; give a folder to --out$"):
        run(dataset, tmp_path / "run")


def test_another_recipe_is_not_resumed(dataset, tmp_path):
    out = tmp_path / "run"
    run(dataset, out, epochs=1)
    message = (
        r"run was started with another recipe or other data \(changed: training\.epochs\); resume"
    )
    with pytest.raises(TrainingError, match=message):
        run(dataset, out, epochs=2, resume=True)
    fewer = Dataset(dataset.folder, dataset.images[3:])
    with pytest.raises(TrainingError, match=r"another recipe or other data \(changed: captions\)"):
        run(fewer, out, epochs=1, resume=True)


def test_a_damaged_state_is_not_resumed(dataset, tmp_path):
    out = tmp_path / "run"
    run(dataset, out, epochs=1)
    state = out / "resume" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(TrainingError, match=r"state\.safetensors is damaged \(.*\); train into an"):
        run(dataset, out, epochs=1, resume=True)


# A full disk


@pytest.mark.parametrize("size", [2_000, 25_000])  # of no state, of the first alone
def test_a_full_disk_leaves_a_run_that_can_go_on(dataset, tmp_path, limited, size):
    left, whole, options = tmp_path / "left", tmp_path / "whole", {"epochs": 3, "average": 0.9}
    run(dataset, whole, **options)
    with pytest.raises(OSError, match=r"File too large: '.*state\.safetensors'"), limited(size):
        run(dataset, left, **options)
    assert (left / "resume" / "state.safetensors").exists() == (size > 2_000)
    run(dataset, left, resume=True, **options)
    assert weights(left) == weights(whole)
    assert metrics(left) == metrics(whole)


def test_figures_that_do_not_fit_are_forgotten(tmp_path, limited):
    add_metrics(tmp_path, '{"epoch": 1}')
    with pytest.raises(OSError, match=r"File too large: '.*metrics\.jsonl'"), limited(20):
        add_metrics(tmp_path, '{"epoch": 2}')
    cut_metrics(tmp_path, 1)
    add_metrics(tmp_path, '{"epoch": 2}')
    assert [line["epoch"] for line in metrics(tmp_path, timed=True)] == [1, 2]


# One writer


def test_a_folder_that_is_being_trained_takes_no_other_run(dataset, tmp_path):
    out = tmp_path / "run"
    first = train(recipe(epochs=2), dataset, out)
    next(first)
    for resume in (False, True):
        with pytest.raises(DataError, match=r"run is being written by another mrnn; wait until"):
            run(dataset, out, epochs=2, resume=resume)
    with pytest.raises(DataError, match=r"run is being written by another mrnn"), \
            locked_folder(out):  # fmt: skip
        pass
    rest = list(first)
    assert len(epochs_of(rest)) == 2
    assert not list(out.glob(".mrnn-*"))
    assert [type(event) for event in run(dataset, out, epochs=2, resume=True)] == [
        RunStarted, RunFinished
    ]  # fmt: skip


def test_a_folder_with_something_else_is_refused(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vocabulary.txt").write_text("mine")
    with pytest.raises(TrainingError, match=r"run holds something else, 'vocabulary\.txt'; give"):
        run(dataset, tmp_path / "run")
    assert (tmp_path / "run" / "vocabulary.txt").read_text() == "mine"


def test_a_folder_that_was_made_for_nothing_is_removed(dataset, tmp_path):
    with pytest.raises(OptionsError, match=r"held_out"):
        run(dataset, tmp_path / "run", held_out=24)
    assert not (tmp_path / "run").exists()


# Options of captioning


def test_a_run_is_resumed_with_other_options_of_captioning(dataset, tmp_path):
    """They change nothing in the training; the model gets the new ones."""
    out, whole, options = tmp_path / "run", tmp_path / "whole", {"epochs": 3}
    changed = {"decoding": {"beam_size": 7, "max_length": 9}, "reranking": {"thing_weight": 0.25}}
    other = Recipe.model_validate(recipe(**options).model_dump() | changed)
    run(dataset, whole, **options)
    events = train(recipe(**options), dataset, out)
    for _ in zip(range(9), events, strict=False):  # 7 are an epoch
        pass
    events.close()
    before = Checkpoint.load(out).config
    assert len(epochs_of(train(other, dataset, out, resume=True))) == 2
    assert weights(out) == weights(whole)
    config = Checkpoint.load(out).config
    assert (config.decoding, config.reranking) == (other.decoding, other.reranking)
    assert config == before.model_copy(update={
        "decoding": other.decoding, "reranking": other.reranking
    })  # fmt: skip
    run(dataset, out, resume=True, **options)  # even when all is trained
    assert Checkpoint.load(out).config == before


# Interrupted and resumed


def test_a_run_that_is_left_and_resumed_ends_as_one_that_was_not(dataset, tmp_path):
    left, whole, options = tmp_path / "left", tmp_path / "whole", {"epochs": 4, "average": 0.9}
    run(dataset, whole, {"dropout": 0.3}, **options)
    for stop in (3, 9, 20, 1, 12):  # events; 7 are an epoch
        events = train(recipe({"dropout": 0.3}, **options), dataset, left, resume=True)
        for _ in zip(range(stop), events, strict=False):
            pass
        events.close()
        torch.rand(3)  # what others do with the global generator meanwhile
    run(dataset, left, {"dropout": 0.3}, resume=True, **options)
    assert weights(left) == weights(whole)
    assert metrics(left) == metrics(whole)


@pytest.mark.parametrize(
    "sizes",
    [
        {"recurrence": "lstm", "recurrent_layers": 2},
        {"recurrence": "gru", "embedding_layers": 1, "shares_embedding": True},
        {"network": "simple-rnn", "recurrence": "sigmoid", "embedding_layers": 1,
         "embedding_size": 12, "multimodal_size": 512, "sees_image": False},
    ],
)  # fmt: skip
def test_every_network_learns_and_resumes(dataset, tmp_path, sizes):
    left, whole, options = tmp_path / "left", tmp_path / "whole", {"epochs": 3, "average": 0.9}
    first, _, last = epochs_of(run(dataset, whole, sizes | {"dropout": 0.1}, **options))
    assert last.dev_perplexity < 0.9 * first.dev_perplexity
    events = train(recipe(sizes | {"dropout": 0.1}, **options), dataset, left)
    for _ in zip(range(12), events, strict=False):  # 7 are an epoch
        pass
    events.close()
    run(dataset, left, sizes | {"dropout": 0.1}, resume=True, **options)
    assert weights(left) == weights(whole)
    assert metrics(left) == metrics(whole)


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_with_text_is_resumed_in_either_phase(dataset, text, tmp_path, device):
    left, whole, sizes = tmp_path / "left", tmp_path / "whole", {"dropout": 0.3}
    options = {"text": {"epochs": 3}, "epochs": 3, "average": 0.9}
    run(dataset, whole, sizes, files=[text], device=device, **options)
    done = []
    for stop in (4, 8, 1, 7, 6, 2, 12, 5):  # events; 5 are an epoch of text, 7 one of pairs
        events = train(
            recipe(sizes, **options), dataset, left, text=[text], device=device, resume=True
        )
        started, *_ = [event for _, event in zip(range(stop), events, strict=False)]
        events.close()
        done.append((started.text.done_epochs, started.done_epochs))
        torch.rand(3)  # what others do with the global generator meanwhile
    assert done == [(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (3, 0), (3, 0), (3, 1)]
    run(dataset, left, sizes, resume=True, files=[text], device=device, **options)
    if device == "cpu":  # elsewhere sums have no fixed order
        assert weights(left) == weights(whole)
        assert metrics(left) == metrics(whole)


@pytest.mark.parametrize("changed", ["text", "--text", "text.epochs"])
def test_other_text_is_not_resumed(dataset, text, tmp_path, changed):
    out, more = tmp_path / "run", tmp_path / "more.txt"
    more.write_text("a red wall there\n")
    run(dataset, out, files=[text], epochs=1)
    files = {"text": [], "--text": [text, more], "text.epochs": [text]}[changed]
    options = {"text": {"epochs": 3}} if changed == "text.epochs" else {}
    with pytest.raises(
        TrainingError, match=rf"another recipe or other data \(changed: (.*, )?{changed}[,)]"
    ):
        run(dataset, out, files=files, epochs=1, resume=True, **options)


def train_until_killed(data, out, at_operation):
    """In a process of its own: SIGKILL before the given renaming or writing, counted from 0."""
    left = at_operation

    def counted(original):
        def call(*args, **kwargs):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return original(*args, **kwargs)

        return call

    for name in ("replace", "write_bytes", "open"):
        setattr(Path, name, counted(getattr(Path, name)))
    options = {"epochs": 4, "average": 0.9}
    for _ in train(recipe({"dropout": 0.3}, **options), Dataset.load(data), out, resume=True):
        pass


@pytest.fixture
def whole(dataset, processes, tmp_path):
    """A run that was left alone, and how long it took, the second time."""
    for name in ("first", "whole"):
        begin = time.monotonic()
        process = processes.Process(
            target=train_until_killed, args=(dataset.folder, tmp_path / name, -1)
        )
        process.start()
        process.join()
        assert process.exitcode == 0
    return tmp_path / "whole", time.monotonic() - begin


def test_a_run_killed_at_ten_random_moments_ends_as_one_that_was_left_alone(
    dataset, whole, processes, tmp_path
):
    whole, seconds = whole
    killed, moments = 0, random.Random(0)
    for attempt in range(20):
        left = tmp_path / f"left-{attempt}"
        for delay in [*(moments.uniform(0.1, 0.8) * seconds for _ in range(5)), None]:
            process = processes.Process(target=train_until_killed, args=(dataset.folder, left, -1))
            process.start()
            process.join(delay)
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode == 0
        assert weights(left) == weights(whole)
        assert metrics(left) == metrics(whole)
        if killed >= 10:
            break
    assert killed >= 10


def check_model(out, features):
    """Whatever the moment, a folder is no model yet, or one whose files agree with each other."""
    if not out.exists():
        return False
    if not (out / "config.json").exists():
        with pytest.raises(
            CheckpointError, match=r"is not a trained model: it has no config\.json"
        ):
            Checkpoint.load(out)
        return False
    checkpoint = Checkpoint.load(out)
    network, trained = checkpoint.network, TorchLanguageModel(torch_network(checkpoint))
    words, state = np.full(len(features), 4), network.initial_state(len(features))
    for step in (network.step, network.search_step):
        found, _ = step(words, state, network.encode_image(features))
        expected, _ = trained.step(words, state, trained.encode_image(features))
        np.testing.assert_allclose(found, expected, atol=0.05)
    return True


@pytest.mark.slow
def test_a_run_killed_before_each_file_it_writes_ends_as_one_that_was_left_alone(
    dataset, colour_encoder, whole, processes, tmp_path
):
    whole, _ = whole
    features = load_features(dataset, colour_encoder.identity).of(dataset.split("dev"))
    left, models, operation = tmp_path / "left", [], 0
    while True:  # an epoch is done, and so some operations fewer follow, now and then
        process = processes.Process(
            target=train_until_killed, args=(dataset.folder, left, operation)
        )
        process.start()
        process.join()
        models.append(check_model(left, features.astype(np.float32)))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        operation += 1
    assert models == sorted(models)
    assert 20 < models.index(True) < 40 < len(models)
    assert weights(left) == weights(whole)
    assert metrics(left) == metrics(whole)
    for file in whole.glob("*"):
        if file.is_file() and file.name not in ("metrics.jsonl",):
            assert (left / file.name).read_bytes() == file.read_bytes()
    assert {file.name for file in left.iterdir()} == {file.name for file in whole.iterdir()}
