import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mrnn.errors import CheckpointError
from mrnn.model.checkpoint import CONFIG, DIRECTIONS, FORMAT, MEAN, VOCABULARY, WEIGHTS, Checkpoint
from mrnn.model.config import ModelConfig
from mrnn.model.quantization import UNIT, rounded
from mrnn.tokenizer import Vocabulary
from mrnn.training.network import IGNORED, MRNN, network_of

FAMILIARITY = (MEAN, DIRECTIONS)


@pytest.fixture
def run(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "run")
    return tmp_path / "run"


def refused(folder, message):
    """Loading fails with one line that matches."""
    with pytest.raises(CheckpointError, match=message) as raised:
        Checkpoint.load(folder)
    assert "\n" not in str(raised.value)


def change_config(run, **values):
    config = json.loads((run / CONFIG).read_text()) | values
    (run / CONFIG).write_text(json.dumps(config))


def change_tensors(run, change):
    tensors = load_file(run / WEIGHTS)
    change(tensors)
    save_file(tensors, run / WEIGHTS)


# Saved and loaded


def test_what_is_saved_is_loaded_a_byte_a_number(checkpoint, run):
    loaded = Checkpoint.load(run)
    assert not loaded.model.training
    assert loaded.model.config == checkpoint.model.config
    expected = checkpoint.model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.float32
        kept = rounded(expected[name]) if tensor.ndim == 2 else expected[name].half().float()
        assert torch.equal(tensor, kept)
    assert loaded.fingerprint == checkpoint.fingerprint
    for name in ("recipe", "vocabulary", "encoder", "decoding"):
        assert getattr(loaded, name) == getattr(checkpoint, name)


@pytest.mark.parametrize(
    "variant",
    [
        {"shares_embedding": True},
        {"recurrence": "lstm", "recurrent_layers": 2},
        {"network": "simple-rnn", "embedding_layers": 1, "embedding_size": 6, "sees_image": False,
         "multimodal_size": 512},
    ],
)  # fmt: skip
def test_every_network_is_loaded_as_it_was_saved(checkpoint, tmp_path, variant):
    config = ModelConfig(**checkpoint.model.config.model_dump() | variant)
    saved = replace(checkpoint, model=network_of(config).eval())
    saved.save(tmp_path / "variant")
    loaded = Checkpoint.load(tmp_path / "variant").model
    assert loaded.config == config
    expected = dict(saved.model.named_parameters())
    matrices = {name for name, tensor in expected.items() if tensor.ndim == 2}
    units = {name + UNIT for name in matrices}
    stored = load_file(tmp_path / "variant" / WEIGHTS)
    assert stored.keys() == {*expected, *FAMILIARITY, *units}
    for name, tensor in loaded.named_parameters():
        kept = rounded(expected[name]) if name in matrices else expected[name].half().float()
        assert torch.equal(tensor, kept)
    words, images = torch.tensor([[0, 3, 4, 5]]), torch.rand(1, 7)
    torch.testing.assert_close(
        loaded(words, images), saved.model(words, images), rtol=5e-2, atol=5e-2
    )


def test_a_config_of_before_the_variants_is_the_papers_network(run):
    model = json.loads((run / CONFIG).read_text())["model"]
    old = ("embedding_size", "recurrent_size", "multimodal_size", "dropout", "sees_image")
    sizes = {name: model[name] for name in (*old, "vocabulary_size", "image_size")}
    change_config(run, model=sizes)
    loaded = Checkpoint.load(run).model
    assert isinstance(loaded, MRNN)
    assert loaded.config.model_dump() == model


def test_a_config_whose_options_do_not_fit_together(run):
    model = json.loads((run / CONFIG).read_text())["model"]
    change_config(run, model=model | {"embedding_layers": 1})
    refused(run, r"config\.json: model: .*embedding_size must be recurrent_size, 6, not 5")


def test_a_fingerprint_tells_models_apart(checkpoint):
    one = checkpoint.fingerprint
    assert checkpoint.fingerprint == one
    torch.manual_seed(5)
    other = replace(checkpoint, model=MRNN(checkpoint.model.config))
    assert other.fingerprint != one


def test_familiarity_survives_exactly(checkpoint, run):
    photos = torch.from_numpy(np.random.default_rng(1).random((9, 7), dtype=np.float32))
    assert torch.equal(
        Checkpoint.load(run).familiarity.score(photos), checkpoint.familiarity.score(photos)
    )


def test_familiarity_takes_a_byte_a_value(run):
    statistics = [load_file(run / WEIGHTS)[name] for name in FAMILIARITY]
    assert [tensor.element_size() for tensor in statistics] == [1, 1]


def test_the_loaded_model_says_nearly_the_same(checkpoint, run):
    words, images = torch.tensor([[0, 3, 4, 5]]), torch.rand(1, 7)
    targets = torch.tensor([[3, 4, 1, IGNORED]])
    losses = [
        model.loss(words, targets, images).item()
        for model in (checkpoint.model, Checkpoint.load(run).model)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)


def test_a_second_save_gives_the_same_bytes_and_nothing_else_is_left(run, checkpoint):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    assert sorted(before) == [CONFIG, WEIGHTS, VOCABULARY]
    Checkpoint.load(run).save(run)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_config_is_for_people_too(run):
    config = json.loads((run / CONFIG).read_text())
    assert config["format"] == FORMAT
    assert config["encoder"]["name"] == "colour"
    assert config["model"]["recurrent_size"] == 6
    assert (run / CONFIG).read_text().count("\n") > 20


# Refused


def test_missing_files(run, tmp_path):
    refused(tmp_path / "none", r"none is not a trained model: it has no config\.json\. Give the")
    (run / WEIGHTS).rename(run / "away")
    refused(run, r"model\.safetensors cannot be read: No such file")
    (run / "away").rename(run / WEIGHTS)
    (run / VOCABULARY).unlink()
    refused(run, r"vocabulary\.txt cannot be read: No such file or directory")


def test_a_file_instead_of_a_folder(run):
    refused(run / CONFIG, r"config\.json.config\.json cannot be read: .*Not a directory")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json cannot be read: Expecting property name"),
        (b"\xff", r"config\.json cannot be read: 'utf-8' codec"),
        ("[]", r"config\.json has format None; this version reads 3\. Upgrade mrnn, or train"),
        ('{"format": 2, "weights": 0}', r"config\.json has format 2; this version reads 3\."),
        ('{"format": 4, "weights": 0}', r"config\.json has format 4; this version reads 3\."),
        ('{"format": 3, "recipe": "x"}', r"config\.json: model: Field required"),
    ],
)
def test_a_bad_config(run, content, message):
    (run / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(run, message)


def test_an_unknown_key_and_an_impossible_value(run):
    decoding = json.loads((run / CONFIG).read_text())["decoding"]
    change_config(run, decoding=decoding | {"beam_size": 0})
    refused(run, r"config\.json: decoding\.beam_size: Input should be greater than or equal to 1")
    change_config(run, decoding=decoding, colour="red")
    refused(run, r"config\.json: colour: Extra inputs are not permitted")


def test_a_vocabulary_of_another_size(run):
    Vocabulary(["a", "wall"]).save(run / VOCABULARY)
    refused(run, r"vocabulary\.txt holds 5 words and signs, but .*config\.json says 10; take both")


def test_an_encoder_of_another_feature_size(run):
    encoder = json.loads((run / CONFIG).read_text())["encoder"]
    change_config(run, encoder=encoder | {"feature_size": 9})
    refused(run, r"config\.json: the model takes features of 7 values, but its encoder makes 9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("output.bias"), "lacks the tensor output.bias; the file is not of this"),
        (lambda t: t.pop("familiarity.mean"), "lacks the tensor familiarity.mean"),
        (lambda t: t.pop("familiarity.directions"), "lacks the tensor familiarity.directions"),
        (lambda t: t.update(more=torch.ones(1)), "has an unknown tensor more; the file is not"),
        (
            lambda t: t.pop("output.weight.scale"),
            r"cannot be read: output\.weight lacks its \.scale; copy the model",
        ),
        (
            lambda t: t.update({"output.bias": torch.ones(3)}),
            r"output\.bias has shape \(3,\), but config\.json asks for \(10,\)",
        ),
        (
            lambda t: t.update({"familiarity.mean": torch.ones(8)}),
            r"familiarity\.mean has shape \(8,\), but config\.json asks for \(7,\)",
        ),
        (
            lambda t: t.update({"familiarity.directions": torch.ones(2, 8)}),
            r"familiarity\.directions has shape \(2, 8\), but config\.json asks for \(2, 7\)",
        ),
        (
            lambda t: t.update({"familiarity.directions": torch.tensor(1.0)}),
            r"familiarity\.directions has shape \(\), but",
        ),
        (
            lambda t: t["recurrence.weight.scale"][3].fill_(torch.nan),
            "recurrence.weight holds values that are not finite",
        ),
        (
            lambda t: t["familiarity.mean"].view(-1)[3].fill_(torch.inf),
            "familiarity.mean holds values that are not finite",
        ),
    ],
)
def test_bad_tensors(run, change, message):
    change_tensors(run, change)
    refused(run, rf"model\.safetensors:? {message}")


@pytest.mark.parametrize("kept", [0, 4, 100, -10])
def test_weights_that_are_cut_short(run, kept):
    (run / WEIGHTS).write_bytes((run / WEIGHTS).read_bytes()[:kept])
    refused(run, r"model\.safetensors cannot be read: ")


def test_a_pickle_is_not_read(run):
    torch.save({"output.bias": torch.ones(10)}, run / WEIGHTS)
    refused(run, r"model\.safetensors cannot be read: ")


def test_a_disk_that_fills_up_leaves_the_old_model(checkpoint, run, monkeypatch):
    before = (run / WEIGHTS).read_bytes()
    write = Path.write_bytes

    def refuse(path, content):
        if path.name.startswith(WEIGHTS):
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(run)
    assert (run / WEIGHTS).read_bytes() == before
