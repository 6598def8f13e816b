import os

import numpy as np
import pytest

from mrnn.errors import CheckpointError
from mrnn.model.onnx_session import open_session, thread_count
from tests.model.tiny_encoder import METADATA, write_colour_encoder


@pytest.fixture
def file(tmp_path):
    return write_colour_encoder(tmp_path / "colour.onnx")


@pytest.mark.parametrize("convolutional", [True, False])
def test_a_graph(file, convolutional):
    session = open_session(file, "mend it", convolutional=convolutional)
    assert session.metadata == METADATA
    assert session.inputs == {"pixels": ("tensor(uint8)", ["B", "H", "W", 3])}
    assert session.outputs == {"features": ("tensor(float)", ["B", 7])}
    (features,) = session.run({"pixels": np.full((2, 4, 5, 3), 255, np.uint8)})
    assert (features == 1).all()


def test_files_that_are_no_graphs(tmp_path):
    for name, problem in (("none.onnx", "is missing"), ("folder.onnx", "is missing")):
        (tmp_path / "folder.onnx").mkdir(exist_ok=True)
        with pytest.raises(CheckpointError, match=rf"{name} {problem}; copy it again$"):
            open_session(tmp_path / name, "copy it again")
    (tmp_path / "text.onnx").write_text("no\ngraph")
    with pytest.raises(
        CheckpointError, match=r"text\.onnx is no graph that can be run \(.+\); copy it again$"
    ) as raised:
        open_session(tmp_path / "text.onnx", "copy it again")
    assert "\n" not in str(raised.value)


def test_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    for nothing in ("", "0", "many", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert 1 <= thread_count() <= os.cpu_count()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1
