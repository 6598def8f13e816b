"""Mutated files of models: each is refused in one line, or gives a model that works."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

from mrnn.data.dataset import Dataset
from mrnn.metrics.cider import DocumentFrequencies, cider
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.encoder_classes import CLASSIFIERS, TAGS
from mrnn.model.epochs import METRICS, EpochDone, read_epochs
from mrnn.model.heads import HEADS
from mrnn.model.image_encoder import load_encoder
from mrnn.model.manifest import MANIFEST, write_manifest
from mrnn.model.network import GRAPHS, WEIGHTS
from mrnn.model.tags import Tagger
from mrnn.training.bundle import fixed_photos
from mrnn.training.encoders.weights import read_weights
from mrnn.training.recipe import RECIPES, load_recipe
from mrnn.training.resume import STATE
from mrnn.training.train import train
from tests.faults.sandbox import check_mutations, check_odd_files

FEW, MANY = 40, 600
cases = pytest.mark.parametrize(
    "cases", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"]
)
FEATURES = np.random.default_rng(0).random((2, 7), dtype=np.float32)


def use(folder):
    """Load a model, and run all that it has."""
    checkpoint = Checkpoint.load(folder)
    network = checkpoint.network
    image, words = network.encode_image(FEATURES), np.array([0, 3])
    scores, state = network.step(words, network.initial_state(2), image)
    searched, _ = network.search_step(words, state, image)
    assert np.isfinite(scores).all()
    assert np.isfinite(searched).all()
    found = checkpoint.familiarity.score(FEATURES)
    assert ((found >= 0) & (found <= 1)).all()
    heads = checkpoint.heads
    if heads:
        sentences = [[[3, 4], [5]], [[6, 7, 8], []]]
        for score in (heads.similarity, heads.predicted_cider, heads.expected_inventions):
            assert all(np.isfinite(each).all() for each in score(sentences, FEATURES))
        correction = heads.hubness_correction(heads.embed_text([[3, 4]]))
        assert np.isfinite(correction).all()
        if heads.confidence:
            signals = np.ones((2, len(heads.confidence.weight)))
            assert ((p := heads.confidence.probabilities(signals)) >= 0).all()
            assert (p <= 1).all()


@pytest.mark.parametrize("name", ["config.json", "vocabulary.txt", WEIGHTS, *GRAPHS])
@cases
def test_a_mutated_model(model, name, cases):
    check_mutations(model / name, lambda: use(model), model, cases=cases)


@cases
def test_mutated_heads(confident_model, cases):
    check_mutations(
        confident_model / HEADS, lambda: use(confident_model), confident_model, cases=cases
    )


@pytest.mark.parametrize("name", ["config.json", "vocabulary.txt", WEIGHTS, HEADS, *GRAPHS])
def test_odd_files_in_a_model(confident_model, name):
    check_odd_files(confident_model / name, lambda: use(confident_model), confident_model)


@cases
def test_a_mutated_manifest(model, cases):
    write_manifest(model, "1")
    check_mutations(model / MANIFEST, lambda: Checkpoint.load(model), model, cases=cases)


@cases
def test_mutated_metrics(tmp_path, cases):
    run = tmp_path / "run"
    run.mkdir()
    values = dict.fromkeys(EpochDone.model_fields, 1.0) | {"epoch": 1, "best": True}
    lines = [json.dumps(values | {"epoch": epoch}) for epoch in (1, 2)]
    (run / METRICS).write_text("\n".join(lines) + "\n")
    check_mutations(run / METRICS, lambda: read_epochs(run), run, cases=cases)


def encode(file):
    encoder = load_encoder(None, "squash", file)
    feature = encoder.encode(encoder.preprocess(fixed_photos()[0]))
    assert feature.shape == (encoder.identity.feature_size,)


@cases
def test_a_mutated_encoder(colour_encoder, cases):
    file = colour_encoder.file
    check_mutations(file, lambda: encode(file), file, cases=cases)


def test_odd_files_as_an_encoder(colour_encoder):
    check_odd_files(colour_encoder.file, lambda: encode(colour_encoder.file), colour_encoder.file)


@pytest.mark.parametrize("name", [TAGS, CLASSIFIERS])
@cases
def test_mutated_tags(colour_tags, colour_encoder, name, cases):
    folder = colour_encoder.file.parent

    def use_tags():
        tagger = Tagger.for_encoder(colour_encoder.identity, folder)
        if tagger:
            found = tagger.probabilities(FEATURES)
            assert ((found >= 0) & (found <= 1)).all()
            tagger.tags(FEATURES)
            tagger.find("sky")

    check_mutations(folder / name, use_tags, folder, cases=cases)


@cases
def test_a_mutated_recipe(tmp_path, cases):
    file = tmp_path / "recipes" / "mine.toml"
    file.parent.mkdir()
    file.write_bytes((RECIPES / "flickr8k.toml").read_bytes())
    check_mutations(file, lambda: load_recipe(file), file, cases=cases)
    check_odd_files(file, lambda: load_recipe(file), file)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@cases
def test_mutated_weights_of_an_encoder(tmp_path, suffix, cases):
    file = tmp_path / "weights" / f"a{suffix}"
    file.parent.mkdir()
    tensors = {"conv.weight": torch.ones(3, 2), "conv.bias": torch.arange(3)}
    if suffix == ".pth":
        torch.save({"state_dict": tensors}, file)
    else:
        file.write_bytes(save(tensors))

    def load():
        for tensor in read_weights(file).values():
            assert tensor.dtype == torch.float32

    check_mutations(file, load, file, cases=cases)
    check_odd_files(file, load, file)


@cases
def test_a_mutated_training_state(dataset, recipe, tmp_path, cases):
    out, data = tmp_path / "run", Dataset.load(dataset)
    chosen = load_recipe(recipe, ["training.epochs=1"])
    list(train(chosen, data, out))
    check_mutations(
        out / STATE, lambda: list(train(chosen, data, out, resume=True)), out, cases=cases // 4
    )


@pytest.mark.parametrize("name", ["frequencies.json"])
@cases
def test_mutated_frequencies(tmp_path, name, cases):
    file = tmp_path / "scores" / name
    file.parent.mkdir()
    references = [[["a", "dog"], ["a", "dog", "runs"]], [["a", "cat"]]]
    DocumentFrequencies.of(references).save(file)

    def load():
        assert np.isfinite(cider([["a", "dog"]], [[["a", "dog"]]], DocumentFrequencies.load(file)))

    check_mutations(file, load, file, cases=cases)
    check_odd_files(file, load, file)
