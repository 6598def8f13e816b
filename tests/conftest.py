"""Small things that many tests need: a tiny world of colours, its photos, captions and model."""

import json
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from mrnn.cli import main
from mrnn.data.dataset import CaptionedImage, Dataset, write_dataset
from mrnn.data.features import extract_features
from mrnn.model import image_encoder
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.confidence import Confidence, Signals
from mrnn.model.config import ModelConfig
from mrnn.model.familiarity import Familiarity
from mrnn.model.heads import Heads, RetrievalWeights
from mrnn.model.image_encoder import SHIPPED, load_encoder
from mrnn.model.joint_embedding import JointEmbedding
from mrnn.model.quantization import dequantize, quantize, rounded
from mrnn.retrieval.index import folder as index_folder
from mrnn.tokenizer import EncodedCaptions, Vocabulary
from mrnn.training.cider_predictor import fit_cider_predictor
from mrnn.training.network import network_of
from mrnn.training.recipe import CiderPredictorOptions, Recipe
from mrnn.training.trained_model import TrainedModel
from tests.model.tiny_encoder import write_colour_encoder
from tests.model.tiny_tags import write_tags

settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")
torch.set_num_threads(1)  # on small tensors more threads only wait for each other

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220)}


@pytest.fixture
def colour_encoder(monkeypatch, tmp_path_factory):
    """The tiny encoder, as one that ships: the mean colour of a photo, and four numbers more."""
    folder = tmp_path_factory.mktemp("encoders")
    write_colour_encoder(folder / "colour.onnx")
    for file in SHIPPED.glob("*.onnx"):
        (folder / file.name).symlink_to(file)
    monkeypatch.setattr("mrnn.model.image_encoder.SHIPPED", folder)
    return load_encoder("colour")


@pytest.fixture
def colour_tags(colour_encoder):
    """Its classes: crimson photos, which are red, and sky ones, which are blue."""
    weights = np.zeros((3, 7), np.float32)
    weights[0, 0], weights[1, 2] = 9, 9
    names = (["crimson"], ["sky", "big sky"], ["grass"])
    calibration = {
        "temperatures": {"colour": 1},
        "thresholds": {"leaf": 0.5},
        "weights": [(0, 1, 0)] * 3,
    }
    write_tags(
        image_encoder.SHIPPED,
        weights=weights,
        tags=[{"names": each} for each in names],
        imagenet=(0, 1, 2),
        detector={"encoder": "boxes", "scale": 8, "tags": []},
        calibrations={"classifiers": calibration},
    )


@pytest.fixture
def colours(tmp_path):
    """A dataset folder of 24 train and 6 dev photos in three colours, two captions each."""
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    images = []
    for split, count in (("train", 24), ("dev", 6)):
        for index in range(count):
            name, colour = list(COLOURS.items())[index % 3]
            noise = generator.integers(-25, 25, (12, 16, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            path = photos / f"{split}-{index:02}-{name}.png"
            Image.fromarray(pixels).save(path)
            captions = (f"A {name} wall .", f"The wall is {name}")
            images.append(CaptionedImage(path.name, path, split, captions))
    write_dataset(images, tmp_path / "data", source="test", images_root=photos)
    return Dataset.load(tmp_path / "data")


@pytest.fixture
def vocabulary():
    return Vocabulary(["a", "wall", "red", "green", "blue", "is", "the"])


TINY = {"image_size": 7, "embedding_size": 5, "recurrent_size": 6, "multimodal_size": 8}


def trained_model(vocabulary, encoder, **sizes):
    """An untrained network of the tiny world, with fixed weights."""
    torch.manual_seed(0)
    config = ModelConfig(vocabulary_size=len(vocabulary), **(TINY | sizes))
    features = np.random.default_rng(0).random((20, 7), dtype=np.float32)
    recipe = Recipe.model_validate({"name": "tiny", "decoding": {"max_length": 6}})
    network = network_of(config).eval()
    return TrainedModel(recipe, network, vocabulary, encoder.identity, Familiarity.of(features))


@pytest.fixture
def model(vocabulary, colour_encoder, tmp_path):
    """The folder of an untrained model of colours."""
    trained_model(vocabulary, colour_encoder).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def checkpoint(model):
    """That model."""
    return Checkpoint.load(model)


@pytest.fixture(params=["numpy", "lance"])
def engine(request, monkeypatch):
    """Each engine of an index in turn, as the one of new ones."""
    monkeypatch.setattr(index_folder, "DEFAULT", request.param)
    return request.param


@pytest.fixture
def limited():
    """Within `limited(size)` no file grows beyond so many bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="the system has no limits")

    @contextmanager
    def limit(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture(scope="session")
def processes():
    """Processes that start at once, as one keeps what they import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mrnn.training.train", "mrnn.cli", "pytest", "torch._dynamo"])
    return context


@pytest.fixture
def killed(processes):
    """Runs a function in a process of its own, which SIGKILL ends after so many seconds.

    True if it was killed; False if it came to its end before, which must be a good one.
    """

    def run(seconds, function, *arguments):
        process = processes.Process(target=_killed_after, args=(seconds, function, *arguments))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0

    return run


def _killed_after(seconds, function, *arguments):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()
    function(*arguments)


def tiny_heads(vocabulary, joint_embedding, sampled, weight, captions, features):
    """Heads with that joint embedding, and a CIDEr predictor fitted to a few captions."""
    encoded = EncodedCaptions.of(captions, vocabulary)
    predictor = fit_cider_predictor(features, encoded, CiderPredictorOptions())
    weights = RetrievalWeights(sentence_to_image=weight, image_to_sentence=weight)
    return Heads(joint_embedding, rounded(sampled), weights, predictor)


@pytest.fixture
def heads(vocabulary):
    """Heads whose joint embedding knows nothing."""
    random = np.random.default_rng(1)
    words, dimensions = len(vocabulary), 4
    shapes = {
        "words": (words, dimensions), "image_weight": (dimensions, 7), "image_bias": (dimensions,),
        "feature_mean": (7,), "feature_scale": (7,),
    }  # fmt: skip
    arrays = {name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}
    embedding = JointEmbedding(**dequantize(quantize(arrays)), parts=2)
    sampled = random.normal(size=(5, 7)).astype(np.float32)
    captions = [[["a", "red", "wall"]], [["a", "wall"]]]
    return tiny_heads(vocabulary, embedding, sampled, 2, captions, sampled[:2])


@pytest.fixture
def model_with_heads(model, checkpoint, vocabulary):
    """The folder of a model with heads: its joint embedding knows the three colours by name."""
    words = np.zeros((len(vocabulary), 3), np.float32)
    words[vocabulary.encode(list(COLOURS)), range(3)] = 1
    embedding = JointEmbedding(
        words, np.eye(3, 7, dtype=np.float32), np.zeros(3, np.float32),
        np.zeros(7, np.float32), np.ones(7, np.float32),
    )  # fmt: skip
    sampled = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    named = [[["a", colour, "wall"]] for colour in COLOURS]
    features = np.eye(3, 7, dtype=np.float32)
    heads = tiny_heads(vocabulary, embedding, sampled, 100, named, features)
    heads.save(model, checkpoint.fingerprint)
    return model


@pytest.fixture
def confident_model(model_with_heads):
    """The folder of a model whose confidence rises with similarity and log-probability."""
    checkpoint = Checkpoint.load(model_with_heads)
    weights = {"similarity": 4, "word_log_probability": 2}
    weight = np.array([weights.get(name, 0) for name in Signals._fields], np.float32)
    fitted = Confidence(weight, np.array([3], np.float32), np.zeros_like(weight))
    replace(checkpoint.heads, confidence=fitted).save(model_with_heads, checkpoint.fingerprint)
    return model_with_heads


@pytest.fixture
def mrnn(monkeypatch, capsys):
    """The command line in this process: exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mrnn", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return end.value.code or 0, out, err

    return run


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
        "[training]\nbatch_size = 8\nepochs = 3\nlearning_rate = 0.02\n"
    )
    return path


@pytest.fixture
def dataset(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours.folder


def lines_of(text):
    return [json.loads(line) for line in text.split("\n")[:-1]]
