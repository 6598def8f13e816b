"""A trained model is used with the base installation alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.example_photos import ASTRONAUT, EXAMPLES, PHOTOS

EXTRAS = (
    *("torch", "torchvision", "timm", "onnx", "onnxscript", "tensorboard"),
    *("pycocoevalcap", "jaxtyping", "beartype", "skimage"),
)
COMMAND = f"""
import sys
for name in {EXTRAS!r}:
    sys.modules[name] = None  # as if it were not installed
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


def test_what_needs_torch_says_so(tmp_path):
    command = [sys.executable, "-c", COMMAND, "train", "flickr8k", "--data", tmp_path]
    done = subprocess.run([*command, "--out", tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "mrnn: Training needs PyTorch. Run: pip install 'mrnn[train]'\n"
