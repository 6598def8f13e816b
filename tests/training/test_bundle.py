import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.errors import CheckpointError, OptionsError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import EncoderIdentity
from mrnn.model.familiarity import Familiarity
from mrnn.model.image_encoder import load_encoder, open_encoder
from mrnn.model.manifest import MANIFEST
from mrnn.model.network import Network
from mrnn.training import bundle
from mrnn.training.bundle import export_bundle
from tests.conftest import COLOURS, trained_model
from tests.model.tiny_encoder import write_colour_encoder


def files_of(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def captions_of(captioner):
    photos = [Image.new("RGB", (9, 12), colour) for colour in COLOURS.values()]
    return captioner.caption(photos)


def save_model(vocabulary, encoder, folder):
    """An untrained model of any encoder."""
    size = encoder.identity.feature_size
    features = np.random.default_rng(0).random((20, size), dtype=np.float32)
    trained = trained_model(vocabulary, encoder, image_size=size)
    replace(trained, familiarity=Familiarity.of(features)).save(folder)


@pytest.fixture
def made(model_with_heads, tmp_path):
    """A bundle of a model with heads, and what was told of it."""
    (model_with_heads / "MODEL_CARD.md").write_text("a card")
    (model_with_heads / "metrics.jsonl").write_text("not for others")
    return tmp_path / "out" / "bundle", export_bundle(model_with_heads, tmp_path / "out" / "bundle")


def test_a_bundle_holds_all_that_a_machine_needs(made):
    folder, report = made
    assert files_of(folder) == sorted([
        "MODEL_CARD.md", "config.json", "encoders/colour.onnx", "heads.safetensors", "image.onnx",
        "language.onnx", "manifest.json", "model.safetensors", "output.onnx", "search.onnx",
        "vocabulary.txt", "words.onnx",
    ])  # fmt: skip
    assert list(folder.parent.iterdir()) == [folder]
    manifest = json.loads((folder / MANIFEST).read_text())
    assert sorted([*manifest["files"], MANIFEST]) == files_of(folder)
    size = sum((folder / name).stat().st_size for name in files_of(folder))
    assert report.megabytes == pytest.approx(size / 1e6)
    assert (report.features, report.captions) == (None, 6)
    assert 0 < report.log_probabilities < 1e-4


def test_it_runs_from_another_folder_without_the_run_and_the_package(
    made, model_with_heads, tmp_path, monkeypatch
):
    expected = captions_of(Captioner.load(model_with_heads))
    folder = tmp_path / "elsewhere"
    made[0].rename(folder)
    shutil.rmtree(model_with_heads)
    monkeypatch.setattr("mrnn.model.image_encoder.SHIPPED", tmp_path / "none")
    captioner = Captioner.load(folder)
    assert captions_of(captioner) == expected
    assert captioner.checkpoint.heads


def test_the_classes_of_the_encoder_go_with_it(
    colour_tags, model_with_heads, tmp_path, monkeypatch
):
    features = np.random.default_rng(0).random((5, 7))
    expected = Checkpoint.load(model_with_heads).tagger.tags(features)
    export_bundle(model_with_heads, tmp_path / "bundle")
    monkeypatch.setattr("mrnn.model.image_encoder.SHIPPED", tmp_path / "none")
    assert Checkpoint.load(tmp_path / "bundle").tagger.tags(features) == expected
    export_bundle(tmp_path / "bundle", tmp_path / "again")
    assert Checkpoint.load(tmp_path / "again").tagger.tags(features) == expected


def test_a_bundle_can_be_exported_again(made, tmp_path):
    folder, report = made
    assert export_bundle(folder, tmp_path / "again") == report
    assert files_of(tmp_path / "again") == files_of(folder)
    for name in files_of(folder):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_changed_byte_in_any_file_is_refused(made):
    folder, _ = made
    for name in files_of(folder):
        content = (folder / name).read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            (folder / name).write_bytes(changed)
            with pytest.raises(CheckpointError, match=r"; |Upgrade") as raised:
                Checkpoint.load(folder)
            assert "\n" not in str(raised.value)
        (folder / name).write_bytes(content)
    Checkpoint.load(folder)


def test_a_missing_file_is_refused(made):
    folder, _ = made
    for name in files_of(folder):
        if name == MANIFEST:
            continue  # then it is a folder as training leaves it
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        message = "is not a trained model" if name == "config.json" else f"{name} is missing; copy"
        with pytest.raises(CheckpointError, match=message):
            Checkpoint.load(folder)
        (folder / name).write_bytes(content)
    Checkpoint.load(folder)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_exists_is_not_replaced(model, tmp_path, kind):
    out = tmp_path / "out"
    out.mkdir() if kind == "folder" else out.write_text("mine")
    with pytest.raises(OptionsError, match=r"^--out \S+/out exists; name a new folder$"):
        export_bundle(model, out)
    assert list(out.iterdir()) == [] if kind == "folder" else out.read_text() == "mine"


def test_a_model_of_imported_features_is_refused(vocabulary, colour_encoder, tmp_path):
    mine = EncoderIdentity(
        name="mine", layer="imported", resize_mode=None, size=0, feature_size=7, weights=""
    )
    replace(trained_model(vocabulary, colour_encoder), encoder=mine).save(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"run was trained on imported features, so no enco"):
        export_bundle(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The encoder


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet50@320", "resnet50.onnx"), ("timm:small.in1k", "timm-small.in1k.onnx")],
)
def test_an_encoder_of_a_file_goes_with_it(vocabulary, colour_encoder, tmp_path, name, file):
    written = write_colour_encoder(tmp_path / "mine.onnx", name=name)
    save_model(vocabulary, open_encoder(written, "squash"), tmp_path / "run")
    with pytest.raises(OptionsError, match=rf"ships no encoder '{name}'.* --encoder-file FILE"):
        export_bundle(tmp_path / "run", tmp_path / "out")
    report = export_bundle(tmp_path / "run", tmp_path / "out", written)
    assert report.features is None
    assert (tmp_path / "out" / "encoders" / file).read_bytes() == written.read_bytes()
    written.unlink()
    assert Captioner.load(tmp_path / "out").checkpoint.encoder.name == name
    other = write_colour_encoder(tmp_path / "other.onnx", name=name, layer="other")
    with pytest.raises(CheckpointError, match=r"was trained with \(layer other, not mean\)"):
        export_bundle(tmp_path / "run", tmp_path / "second", other)
    assert not (tmp_path / "second").exists()


def test_several_encoders_go_with_it(vocabulary, colour_encoder, tmp_path):
    written = write_colour_encoder(tmp_path / "mine.onnx", name="vgg16")
    encoder = load_encoder("colour@64+vgg16", "pad", written)
    save_model(vocabulary, encoder, tmp_path / "run")
    export_bundle(tmp_path / "run", tmp_path / "out", written)
    files = (tmp_path / "out" / "encoders").iterdir()
    assert {file.name for file in files} == {"colour.onnx", "vgg16.onnx"}
    written.unlink()
    assert Captioner.load(tmp_path / "out").encoder.identity == encoder.identity


@pytest.fixture
def lite(vocabulary, tmp_path):
    """A model of an encoder that ships."""
    save_model(vocabulary, load_encoder("efficientnet-lite0@64"), tmp_path / "run")
    return tmp_path / "run"


def test_features_of_a_shipped_encoder_are_compared(lite, tmp_path, monkeypatch):
    assert 0 < export_bundle(lite, tmp_path / "out").features < 1e-3
    monkeypatch.setattr(bundle, "difference_from_torch", lambda encoder, headless: 0.25)
    with pytest.raises(
        CheckpointError,
        match=r"^Features of efficientnet-lite0@64 differ from PyTorch's by 25\.0%; reinstall mrnn",
    ):
        export_bundle(lite, tmp_path / "second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


# Agreement with PyTorch


def refused(run, tmp_path, message):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=message) as raised:
        export_bundle(run, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before
    assert str(raised.value).startswith(f"{run}: ")
    assert len(str(raised.value)) - len(str(run)) < 250


@pytest.mark.parametrize("change", [0.2, np.nan])
def test_log_probabilities_that_disagree_are_refused(model, tmp_path, monkeypatch, change):
    original = bundle._torch_model

    def changed(checkpoint):
        trained = original(checkpoint)
        trained._network.output.bias.data[4] += change
        return trained

    monkeypatch.setattr(bundle, "_torch_model", changed)
    refused(model, tmp_path, r"log-probabilities differ from PyTorch's by (0\.\d+|nan) nats.*train")


def test_a_search_graph_that_disagrees_is_refused(model, tmp_path, monkeypatch):
    def search_step(self, words, state, image):
        return self.step((words + 1) % 10, state, image)

    monkeypatch.setattr(Network, "search_step", search_step)
    refused(model, tmp_path, r"differ .* by \d\.?\d*e-0\d nats, those of search by 0\.\d+; train")


def test_captions_that_disagree_are_refused(model, tmp_path, monkeypatch):
    decode = bundle.decode

    def second_best(model, images, options):
        if isinstance(model, Network):
            return decode(model, images, options)
        options = options.model_copy(update={"n_best": 2})
        return [found[1:] for found in decode(model, images, options)]

    monkeypatch.setattr(bundle, "decode", second_best)
    refused(model, tmp_path, r"\d of 6 captions differ from PyTorch's; train the model again")


def test_a_full_disk_leaves_nothing(model, tmp_path, limited):
    before = sorted(tmp_path.iterdir())
    size = (model / "model.safetensors").stat().st_size
    with pytest.raises(OSError, match="File too large"), limited(size - 1):
        export_bundle(model, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_that_is_damaged_is_refused(model, tmp_path):
    os.truncate(model / "search.onnx", 100)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"search\.onnx is not the graph that config"):
        export_bundle(model, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before
