"""Small things that many tests need: a tiny world of colours, its photos, captions and model."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

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
from mrnn.model.cider_predictor import ExpectedCiderOptions, fit_expected_cider
from mrnn.model.config import DecodingOptions, ModelConfig
from mrnn.model.familiarity import Familiarity
from mrnn.model.heads import Weights
from mrnn.model.image_encoder import load_encoder, open_encoder
from mrnn.model.joint_embedding import JointSpace
from mrnn.model.quantization import rounded
from mrnn.retrieval.ranking import Ranker
from mrnn.tokenizer import Vocabulary
from mrnn.training.batches import EncodedCaptions
from mrnn.training.network import MRNN
from tests.model.tiny_encoder import write_colour_encoder

settings.register_profile("patient", deadline=None)  # a busy machine is no fault
settings.load_profile("patient")
torch.set_num_threads(1)  # on small tensors more threads only wait for each other

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 60, 220)}


ENCODERS = Path(tempfile.mkdtemp())
"""In place of the encoders that ship: a photo's mean colour, and four numbers more."""
COLOUR = open_encoder(write_colour_encoder(ENCODERS / "colour.onnx"), "squash").identity


@pytest.fixture
def colour_encoder(monkeypatch):
    """The tiny encoder, known by its name as those that ship are."""
    monkeypatch.setattr(image_encoder, "SHIPPED", ENCODERS)
    return load_encoder("colour")


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


@pytest.fixture
def checkpoint(vocabulary):
    """An untrained model of the tiny world, with fixed weights."""
    torch.manual_seed(0)
    config = ModelConfig(
        vocabulary_size=len(vocabulary),
        image_size=7,
        embedding_size=5,
        recurrent_size=6,
        multimodal_size=8,
    )
    features = np.random.default_rng(0).random((20, 7), dtype=np.float32)
    return Checkpoint(
        recipe="tiny",
        model=MRNN(config).eval(),
        vocabulary=vocabulary,
        encoder=COLOUR,
        decoding=DecodingOptions(maximum_words=6),
        familiarity=Familiarity.of(features),
    )


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


@pytest.fixture
def ranker(checkpoint):
    """A model with a joint space that knows nothing."""
    torch.manual_seed(1)
    space = JointSpace(len(checkpoint.vocabulary), image_size=7, size=2, parts=2).eval()
    sampled = rounded(torch.randn(5, 7)).numpy()
    state = space.state_dict()
    space.load_state_dict({n: rounded(t) if t.ndim == 2 else t.half() for n, t in state.items()})
    weights = Weights(sentence_to_image=2, image_to_sentence=3)
    some = EncodedCaptions.of([[["a", "red", "wall"]], [["a", "wall"]]], checkpoint.vocabulary)
    expected = fit_expected_cider(sampled[:2], some, ExpectedCiderOptions())
    return Ranker(checkpoint, space, sampled, weights, expected)


@pytest.fixture
def ranking_run(checkpoint, colour_encoder, tmp_path):
    """The folder of a model that can rank: its joint space knows the three colours by name."""
    space = JointSpace(len(checkpoint.vocabulary), image_size=7, size=3)
    with torch.no_grad():
        for parameter in space.parameters():
            parameter.zero_()
        space.image.weight[:, :3] = torch.eye(3)
        for place, name in enumerate(COLOURS):
            space.words.weight[checkpoint.vocabulary.encode([name])[0], place] = 1
    sampled = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    weights = Weights(sentence_to_image=100, image_to_sentence=100)
    named = [[["a", colour, "wall"]] for colour in COLOURS]
    captions = EncodedCaptions.of(named, checkpoint.vocabulary)
    expected = fit_expected_cider(np.eye(3, 7, dtype=np.float32), captions, ExpectedCiderOptions())
    checkpoint.save(tmp_path / "ranking-run")
    Ranker(checkpoint, space, sampled, weights, expected).save(tmp_path / "ranking-run")
    return tmp_path / "ranking-run"


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
