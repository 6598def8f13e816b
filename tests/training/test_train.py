import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.data.splits import hold_out
from mrnn.errors import DataError, OptionsError, TrainingError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.epochs import EpochDone
from mrnn.tokenizer import EncodedCaptions
from mrnn.training import optimization
from mrnn.training.batches import batch_of, batches
from mrnn.training.events import (
    RunFinished,
    RunStarted,
    StepDone,
    TextEpochDone,
    TextStarted,
)
from mrnn.training.optimization import Optimization
from mrnn.training.recipe import Recipe
from mrnn.training.train import train
from mrnn.training.validation import dev_perplexity
from tests.conftest import COLOURS
from tests.torch_network import log_probabilities, torch_network
from tests.training.test_devices import DEVICES

SIZES = {"embedding_size": 8, "recurrent_size": 12, "multimodal_size": 16}
OPTIONS = {
    "batch_size": 8,
    "epochs": 12,
    "learning_rate": 0.02,
    "patience": 12,
}


def recipe(sizes=None, text=None, **options):
    return Recipe.model_validate(
        {
            "name": "colours",
            "encoder": {"name": "colour"},
            "model": SIZES | (sizes or {}),
            "training": OPTIONS | options,
            "decoding": {"max_length": 6},
            "text": {"epochs": 2, "learning_rate": 0.02, "min_count": 2} | (text or {}),
        }
    )


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


def run(dataset, out, sizes=None, resume=False, files=(), device="cpu", **options):
    chosen = recipe(sizes, **options)
    return list(train(chosen, dataset, out, text=files, device=device, resume=resume))


def epochs_of(events):
    return [event for event in events if isinstance(event, EpochDone)]


def weights(out):
    return (out / "model.safetensors").read_bytes()


def metrics(out, *, timed=False):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    if not timed:
        for line in lines:
            del line["seconds"], line["words_per_second"]
    return lines


# What training makes


def test_it_learns_to_name_the_colour_of_a_photo(dataset, colour_encoder, tmp_path):
    events = run(dataset, tmp_path / "run", {"dropout": 0.1})
    epochs = epochs_of(events)
    assert epochs[-1].dev_perplexity < 1.6 < 4 < epochs[0].dev_perplexity
    assert epochs[-1].shuffled_perplexity > 1.15 * epochs[-1].dev_perplexity
    assert epochs[-1].distinct == pytest.approx(3 / 6)
    assert epochs[-1].cider > 4 > 1 > epochs[0].cider
    assert epochs[-1].warnings == ()
    captioner = Captioner(Checkpoint.load(tmp_path / "run"), colour_encoder)
    for name, colour in COLOURS.items():
        new = np.full((20, 30, 3), colour, np.uint8)
        assert name in captioner.caption(new).captions[0].text.split()


def test_events_tell_the_whole_story(dataset, tmp_path):
    out = tmp_path / "run"
    started, *middle, finished = run(dataset, out, epochs=2)
    assert started == RunStarted(
        folder=out,
        parameters=sum(p.numel() for p in torch_network(Checkpoint.load(out)).parameters()),
        vocabulary_size=3 + 7,
        epochs=2,
        steps_per_epoch=6,
        precision="float32",
        done_epochs=0,
    )
    assert [type(event) for event in middle] == 2 * [*6 * [StepDone], EpochDone]
    steps = [event for event in middle if isinstance(event, StepDone)]
    assert sum(step.words for step in steps) == 2 * 24 * (4 + 5)
    bits = sum(step.bits * step.words for step in steps[:6]) / sum(s.words for s in steps[:6])
    first, second = epochs_of(middle)
    assert first.train_perplexity == pytest.approx(2**bits)
    best = min((first, second), key=lambda epoch: epoch.dev_perplexity)
    assert finished == RunFinished(out, best.epoch, best.dev_perplexity)
    assert metrics(out, timed=True) == [epoch.model_dump() for epoch in (first, second)]
    assert sorted(path.name for path in out.iterdir()) == [
        *("MODEL_CARD.md", "config.json", "image.onnx", "language.onnx", "metrics.jsonl"),
        *("model.safetensors", "output.onnx", "resume", "search.onnx", "vocabulary.txt"),
        "words.onnx",
    ]
    card = (out / "MODEL_CARD.md").read_text()
    assert (
        "The dataset folder `data`:\n\n- train: 24 photos, 48 captions\n- dev: 6 photos, 12" in card
    )
    assert f"Epoch {best.epoch}, the best" in card
    assert f"| dev_perplexity | {best.dev_perplexity:.3f} |" in card


def test_the_folder_holds_the_best_epoch_as_it_was_measured(dataset, colour_encoder, tmp_path):
    *_, finished = run(dataset, tmp_path / "run", epochs=8, learning_rate=0.1)
    checkpoint = Checkpoint.load(tmp_path / "run")
    assert finished.best_perplexity == min(m["dev_perplexity"] for m in metrics(tmp_path / "run"))
    images = dataset.split("dev")
    references = [[caption.lower().strip(" .").split() for caption in i.captions] for i in images]
    captions = EncodedCaptions.of(references, checkpoint.vocabulary)
    features = load_features(dataset, colour_encoder.identity).of(images)
    found = dev_perplexity(torch_network(checkpoint), batches(captions, features, 4))
    assert found == pytest.approx(finished.best_perplexity, rel=0.02)  # weights are int8


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(dataset, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        run(dataset, tmp_path / name, {"dropout": 0.3}, seed=seed, epochs=3)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")


def test_rnn_base_learns_without_the_image(dataset, colour_encoder, tmp_path):
    epochs = epochs_of(run(dataset, tmp_path / "run", {"sees_image": False}, epochs=3))
    assert epochs[-1].dev_perplexity < 0.8 * epochs[0].dev_perplexity
    assert epochs[-1].distinct == pytest.approx(1 / 6)
    assert epochs[-1].shuffled_perplexity is None
    assert epochs[-1].warnings == ()
    captioner = Captioner(Checkpoint.load(tmp_path / "run"), colour_encoder)
    said = captioner.caption([np.full((9, 9, 3), c, np.uint8) for c in COLOURS.values()])
    assert len({result.captions for result in said}) == 1


def test_a_model_that_ignores_the_image_is_warned_of(colours, tmp_path, colour_encoder):
    for image in colours.images:
        Image.new("RGB", (9, 9), COLOURS["red"]).save(image.path)
    extract_features(colours, colour_encoder)
    for epoch in epochs_of(run(colours, tmp_path / "run", epochs=2)):
        assert epoch.shuffled_perplexity == epoch.dev_perplexity
        assert any("the model ignores the image" in line for line in epoch.warnings)


def test_bfloat16_learns_as_well(dataset, tmp_path):
    events = run(dataset, tmp_path / "run", precision="bfloat16")
    assert events[0].precision == "bfloat16"
    assert epochs_of(events)[-1].dev_perplexity < 1.8


@pytest.mark.parametrize("average", [0.0, 0.2])
def test_the_average_of_the_weights_is_what_is_kept(dataset, tmp_path, monkeypatch, average):
    step, history = torch.optim.AdamW.step, []

    def remember(self, closure=None):
        parameters = self.param_groups[0]["params"]
        if not history:
            history.append([p.detach().clone() for p in parameters])
        step(self)
        history.append([p.detach().clone() for p in parameters])

    monkeypatch.setattr(torch.optim.AdamW, "step", remember)
    run(dataset, tmp_path / "run", epochs=1, average=average)
    expected, *states = history
    for done, state in enumerate(states, 1):
        decay = min(average, done / (done + 10))
        expected = [decay * e + (1 - decay) * s for e, s in zip(expected, state, strict=True)]
    kept = list(torch_network(Checkpoint.load(tmp_path / "run")).parameters())
    for stored, exact in zip(kept, expected, strict=True):  # matrices are int8
        assert ((stored - exact).abs() <= exact.abs().max() / 100).all()
    if average:
        assert any(not torch.allclose(k, s, rtol=1e-2) for k, s in zip(kept, state, strict=True))


def test_patience_ends_a_run_that_does_not_improve(dataset, tmp_path):
    events = run(dataset, tmp_path / "run", epochs=50, learning_rate=1e-12, average=0.9, patience=2)
    epochs = epochs_of(events)
    assert len(epochs) < 50
    assert [epoch.best for epoch in epochs[-2:]] == [False, False]
    assert events[-1].best_epoch == len(epochs) - 2
    again = run(dataset, tmp_path / "run", resume=True, epochs=50, learning_rate=1e-12,
                average=0.9, patience=2)  # fmt: skip
    assert [type(event) for event in again] == [RunStarted, RunFinished]


# Captions without photos


def saved_state(out):
    return load_file(out / "resume" / "state.safetensors")


@pytest.mark.parametrize("sees_image", [True, False])
def test_it_learns_the_language_from_text_first(dataset, text, tmp_path, sees_image):
    out, states, text_epochs = tmp_path / "run", [], []
    sizes = {"sees_image": sees_image, "dropout": 0.1}
    events = train(recipe(sizes, {"epochs": 3}, average=0.5), dataset, out, text=[text])
    for event in events:
        if isinstance(event, RunStarted | TextEpochDone):
            states.append(saved_state(out))
        if isinstance(event, TextEpochDone):
            text_epochs.append(event)
        if isinstance(event, EpochDone):
            break
    assert [(e.epoch, e.epochs) for e in text_epochs] == [(1, 3), (2, 3), (3, 3)]
    perplexities = [epoch.dev_perplexity for epoch in text_epochs]
    assert perplexities[-1] < 0.8 * perplexities[0]
    assert text_epochs[-1].train_perplexity < text_epochs[0].train_perplexity
    alone, *_ = epochs_of(run(dataset, tmp_path / "alone", sizes, epochs=12, average=0.5))
    assert event.dev_perplexity < 0.8 * alone.dev_perplexity
    changed = {name for name in states[0] if name.startswith("model.")}
    changed = {name for name in changed if not torch.equal(states[0][name], states[-1][name])}
    names = {name for name, _ in torch_network(Checkpoint.load(out)).named_parameters()}
    assert changed == {f"model.{name}" for name in names - {"image_to_multimodal.weight"}}
    assert not [name for name in states[-1] if name.startswith("optimizer.")]  # a fresh one
    for name in names:
        assert torch.equal(states[-1][f"model.{name}"], states[-1][f"average.{name}"])


def test_events_tell_of_the_text(dataset, text, tmp_path):
    started, *middle = run(dataset, tmp_path / "run", files=[text], epochs=1)
    assert started.text == TextStarted(
        captions=27, left_out=9, epochs=2, steps_per_epoch=4, done_epochs=0
    )
    assert (started.steps, started.done_steps) == (2 * 4 + 6, 0)
    assert started.vocabulary_size == 3 + 7 + 2
    kinds = [*2 * [*4 * [StepDone], TextEpochDone], *6 * [StepDone], EpochDone, RunFinished]
    assert [type(event) for event in middle] == kinds
    steps = [event for event in middle if isinstance(event, StepDone)]
    assert [step.text for step in steps] == 8 * [True] + 6 * [False]
    assert [step.epoch for step in steps] == [1, 1, 1, 1, 2, 2, 2, 2, *6 * [1]]
    assert sum(step.words for step in steps[:4]) == 9 * (5 + 6 + 4)
    assert [line["epoch"] for line in metrics(tmp_path / "run")] == [1]
    assert "- text.txt: 27 captions" in (tmp_path / "run" / "MODEL_CARD.md").read_text()
    assert Checkpoint.load(tmp_path / "run").vocabulary.words[-2:] == ("here", "house")


def test_the_simple_rnn_learns_from_text(dataset, text, tmp_path):
    sizes = {"network": "simple-rnn", "recurrence": "sigmoid", "embedding_layers": 1,
             "embedding_size": 12, "multimodal_size": 512, "sees_image": False}  # fmt: skip
    events = run(dataset, tmp_path / "run", sizes, files=[text], text={"epochs": 6}, epochs=1)
    first, *_, last = [event for event in events if isinstance(event, TextEpochDone)]
    assert last.dev_perplexity < first.dev_perplexity


def test_without_text_its_options_have_no_effect(dataset, tmp_path):
    for name, text in (("a", {}), ("b", {"epochs": 7, "min_count": 1})):
        run(dataset, tmp_path / name, {"dropout": 0.3}, text=text, epochs=2)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


# Held out


def test_photos_that_are_held_out_have_no_part(dataset, text, tmp_path):
    """Training is as if they were in another split."""
    _, held_out = hold_out(dataset.split("train"), 4)
    images = [replace(i, split="spare") if i in held_out else i for i in dataset.images]
    without = Dataset(dataset.folder, tuple(images))
    events = run(dataset, tmp_path / "a", files=[text], epochs=2, held_out=4)
    run(without, tmp_path / "b", files=[text], epochs=2)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert events[0].steps_per_epoch == 5
    assert Checkpoint.load(tmp_path / "a").config.held_out == 4
    assert "- train: 20 photos, 40 captions" in (tmp_path / "a" / "MODEL_CARD.md").read_text()


def test_a_network_beyond_memory_is_refused_before_it_is_made(dataset, tmp_path):
    with pytest.raises(OptionsError, match=r"takes 24,.* GB of memory, and there are .*recurrent_"):
        run(dataset, tmp_path / "run", {"recurrent_size": 10**9})
    assert not (tmp_path / "run").exists()


def test_all_photos_cannot_be_held_out(dataset, tmp_path):
    with pytest.raises(OptionsError, match=r"^training\.held_out = 24 leaves no photo to train on"):
        run(dataset, tmp_path / "run", held_out=24)


# Devices


@pytest.mark.parametrize("device", DEVICES[1:])
def test_it_learns_on_every_device(dataset, text, tmp_path, device):
    sizes = {"dropout": 0.1, "recurrence": "gru"}
    events = run(dataset, tmp_path / "run", sizes, files=[text], device=device)
    assert events[0].device.startswith(device)
    assert epochs_of(events)[-1].dev_perplexity < 1.6
    checkpoint = Checkpoint.load(tmp_path / "run")
    assert epochs_of(run(dataset, tmp_path / "run", sizes, True, [text], device)) == []
    with pytest.raises(TrainingError, match=r"\(changed: --device\)"):
        run(dataset, tmp_path / "run", sizes, True, [text])
    assert np.isfinite(checkpoint.network.encode_image(np.ones((1, 7), np.float32))).all()


def test_a_device_that_is_not_there(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionsError, match=r"^--device cuda: PyTorch finds no such device here"):
        run(dataset, tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("at_once", [1, 4, 50])
def test_steps_that_are_told_in_groups_are_the_same_steps(dataset, tmp_path, monkeypatch, at_once):
    """As on a device that would be waited for."""
    with monkeypatch.context() as patched:
        patched.setattr(optimization, "steps_at_once", lambda device: at_once)
        told = run(dataset, tmp_path / "a", epochs=2)
    expected = run(dataset, tmp_path / "b", epochs=2)
    steps = [[e for e in events if isinstance(e, StepDone)] for events in (told, expected)]
    assert steps[0] == steps[1]
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


# The cost


def first_gradients(dataset, out, monkeypatch, **options):
    """The gradient that the optimizer gets at the first step, the batch and the network."""
    caught = {}

    class Stop(Exception):  # noqa: N818
        pass

    def step(self, closure=None):
        caught["gradients"] = [p.grad.clone() for g in self.param_groups for p in g["params"]]
        raise Stop

    original = Optimization._step

    def remember(self, rows, *args):
        caught["batch"] = batch_of(self.captions, self.features, rows, self.device)
        caught["network"] = self.network
        return original(self, rows, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr(Optimization, "_step", remember)
    with pytest.raises(Stop):
        run(dataset, out, **options)
    return caught["gradients"], caught["batch"], caught["network"]


@pytest.mark.parametrize(("weight_penalty", "shares"), [(0.0, 1), (0.3, 1), (0.3, 4)])
def test_the_gradient_is_that_of_the_papers_cost(
    dataset, tmp_path, monkeypatch, weight_penalty, shares
):
    options = {"weight_penalty": weight_penalty, "shares": shares, "clip": 1e9}
    gradients, batch, network = first_gradients(dataset, tmp_path / "run", monkeypatch, **options)
    log2_p = log_probabilities(network, batch.words, batch.features) / math.log(2)
    counted = [
        log2_p[b, t, int(word)]
        for b, sentence in enumerate(batch.targets)
        for t, word in enumerate(sentence)
        if word >= 0
    ]
    norm = sum((p**2).sum() for p in network.parameters())
    cost = -sum(counted) / len(counted) + weight_penalty * norm
    expected = torch.autograd.grad(cost, list(network.parameters()))
    torch.testing.assert_close(gradients, list(expected), rtol=1e-4, atol=1e-6)


def test_a_long_gradient_is_clipped(dataset, tmp_path, monkeypatch):
    gradients, *_ = first_gradients(dataset, tmp_path / "run", monkeypatch, clip=0.01)
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("option", "value"), [("weight_penalty", 0.01), ("weight_decay", 2.0)])
def test_penalty_and_decay_make_the_weights_smaller(dataset, tmp_path, option, value):
    norms = []
    for given in (0.0, value):
        run(dataset, tmp_path / f"{given}", epochs=6, **{option: given})
        model = torch_network(Checkpoint.load(tmp_path / f"{given}"))
        norms.append(sum(float(p.detach().square().sum()) for p in model.parameters()))
    assert norms[1] < 0.8 * norms[0]


# What is refused


def test_a_cost_that_is_not_finite_names_the_batch(dataset, tmp_path):
    message = (
        r"^The cost is (nan|inf) in epoch \d, in the batch of 8 captions that begins with those of "
        r"train-\d\d-\w+\.png, train-\d\d-\w+\.png, train-.*\.png\. Lower training\.learning_rate, "
        r"or look for bad features with: mrnn check$"
    )
    with pytest.raises(TrainingError, match=message):
        run(dataset, tmp_path / "run", learning_rate=1e38)


def test_a_cost_of_text_that_is_not_finite_names_the_batch(dataset, text, tmp_path):
    message = (
        r"^The cost is (nan|inf) in text epoch \d, in the batch of \d captions that begins with "
        r"'[a-z ]+'\. Lower text\.learning_rate$"
    )
    with pytest.raises(TrainingError, match=message):
        run(dataset, tmp_path / "run", files=[text], text={"learning_rate": 1e38})


def test_a_dev_perplexity_of_text_that_is_not_finite_ends_the_run(dataset, text, tmp_path):
    with pytest.raises(
        TrainingError, match=r"^The dev perplexity is (inf|nan): .*; lower text\.learning_rate$"
    ):
        run(dataset, tmp_path / "run", files=[text], text={"learning_rate": 3e3})


def test_a_dev_perplexity_that_is_not_finite_ends_the_run(dataset, tmp_path):
    with pytest.raises(
        TrainingError, match=r"^The dev perplexity is (inf|nan): .*; lower training\.learning_rate$"
    ):
        run(dataset, tmp_path / "run", learning_rate=3e3)


def test_features_that_are_not_finite_are_named(dataset, colour_encoder, tmp_path):
    shard = load_features(dataset, colour_encoder.identity).store.shards[0]
    content, start = bytearray(shard.file.read_bytes()), shard.starts["features"]
    content[start : start + 2] = b"\xff\x7f"  # a NaN of the first photo
    shard.file.write_bytes(content)
    with pytest.raises(DataError, match="features of row 1 are not finite"):
        run(dataset, tmp_path / "run")


def test_features_that_are_not_there(colours, colour_encoder, tmp_path):
    with pytest.raises(DataError, match=r"colour-squash does not exist; run: mrnn extract"):
        run(colours, tmp_path / "run")
