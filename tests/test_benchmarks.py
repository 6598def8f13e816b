"""Benchmarks, which nobody runs every day, keep up with the code."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from mrnn.data.dataset import write_dataset
from mrnn.data.readers.table import read_table

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_it_starts(file, monkeypatch, capsys):
    spec = spec_from_file_location(f"benchmark_{file.stem}", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [file.name, "--help"])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_scale_writes_the_features_that_training_reads(tmp_path, monkeypatch):
    file = next(file for file in BENCHMARKS if file.stem == "scale")
    spec = spec_from_file_location("benchmark_scale", file)
    scale = module_from_spec(spec)
    spec.loader.exec_module(scale)
    monkeypatch.setattr(scale, "FEATURE_SIZE", 4)
    scale.make_source(tmp_path, 3)
    images = list(read_table([tmp_path / "captions.jsonl"], tmp_path / "photos"))
    write_dataset(images, tmp_path / "data", source="test")
    scale.make_features(tmp_path / "data")
    (folder,) = (tmp_path / "data/features").iterdir()
    assert [file.name for file in sorted(folder.glob("shard-*"))] == ["shard-000001.safetensors"]
