"""What tests of several verbs need."""

import json

import pytest

from mrnn.model.image_encoder import open_encoder
from mrnn.training.encoders import export
from tests.model.tiny_encoder import write_colour_encoder

IMAGES = range(8)
REFERENCES = {"annotations": [
    {"image_id": i, "caption": f"A {colour} wall number{i} in the sun." }
    for i in IMAGES for colour in ("red", "green", "blue", "grey", "white")
]}  # fmt: skip
A = [{"image_id": i, "caption": f"a red wall number{i}"} for i in IMAGES]
B = [{"image_id": i, "caption": "a red wall in the sun"} for i in IMAGES]


@pytest.fixture
def exports(monkeypatch):
    """In place of PyTorch's export: a tiny file; and what was asked for."""
    asked = []

    def write(name, file, weights=None):
        asked.append((name, weights))
        file.parent.mkdir(parents=True, exist_ok=True)
        return open_encoder(write_colour_encoder(file, name=name), "squash")

    monkeypatch.setattr(export, "export_encoder", write)
    return asked


@pytest.fixture
def caption_files(monkeypatch, tmp_path):
    """A folder of captions, in which commands run."""
    for name, content in {"r": REFERENCES, "a": A, "b": B, "one": A[:1]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
