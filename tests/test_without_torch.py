"""A trained model is used with the base installation alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.example_photos import ASTRONAUT, CAT, EXAMPLES, PHOTOS

EXTRAS = (
    *("torch", "torchvision", "timm", "onnx", "onnxscript", "tensorboard"),
    *("pycocoevalcap", "jaxtyping", "beartype", "lancedb", "pyarrow", "scipy"),
)
COMMAND = f"""
import sys
from importlib.machinery import PathFinder

class Installed:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in {EXTRAS!r}:
            return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
sys.argv[0] = "mrnn"
from mrnn.__main__ import main
main()
"""


def mrnn(*arguments):
    """The command's output, in a Python where no extra can be imported."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_photo_is_captioned():
    result = json.loads(mrnn("caption", ASTRONAUT, "--json", "--n-best", "3"))
    assert len({caption["text"] for caption in result["captions"]}) == 3
    assert 0 < result["familiarity"] <= 1


@pytest.mark.slow
def test_photos_are_found(tmp_path):
    index = tmp_path / "photos.index"
    mrnn("index", EXAMPLES, "--out", index)
    found = [json.loads(line) for line in mrnn("search", index, "a cat", "--json").splitlines()]
    assert {Path(find["path"]).name for find in found} <= {photo.name for photo in PHOTOS}
    assert [find["rank"] for find in found] == list(range(1, len(found) + 1))


@pytest.mark.slow
def test_captions_are_measured_and_reranked(tmp_path):
    nbest, captions = tmp_path / "nbest.jsonl", tmp_path / "captions.csv"
    nbest.write_text(mrnn("caption", CAT, "--json", "--n-best", "3"), encoding="utf-8")
    ranked = json.loads(mrnn("rerank", nbest, "--json"))
    assert [caption["consensus"]["rank"] for caption in ranked["captions"]] == [1, 2, 3]
    captions.write_text("image,caption\ncat.jpg,a cat on a bed\n")
    scores = json.loads(mrnn("score", captions, captions, "--no-meteor", "--json"))
    assert scores["generation"]["bleu_1"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "flickr8k", "--data", ".", "--out", "run"], "Training needs PyTorch."),
        (["train-heads", "run", "--data", "."], "Training needs PyTorch."),
        (["export", "run", "--out", "bundle"], "Exporting needs PyTorch."),
    ],
)
def test_what_needs_torch_says_so(arguments, told, tmp_path):
    command = [sys.executable, "-c", COMMAND, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"mrnn: {told} Run: pip install 'mrnn[train]'\n"
    assert list(tmp_path.iterdir()) == []
