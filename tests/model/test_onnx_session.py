import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mrnn.errors import CheckpointError, OptionsError
from mrnn.model.onnx_session import open_session
from tests.model.test_devices import DEVICES
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


@pytest.mark.parametrize(("given", "expected"), [({}, 1), ({"threads": 3}, 3)])
def test_a_graph_takes_one_thread_or_as_many_as_are_asked_for(file, monkeypatch, given, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    opened, session_of = [], onnxruntime.InferenceSession

    def note(name, options, **more):
        opened.append(options.intra_op_num_threads)
        return session_of(name, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    open_session(file, "mend it", **given)
    assert opened == [expected]


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_on_every_device(file, device):
    pixels = np.random.default_rng(0).integers(0, 255, (1, 8, 8, 3)).astype(np.uint8)
    (features,) = open_session(file, "mend it", device=device).run({"pixels": pixels})
    (expected,) = open_session(file, "mend it").run({"pixels": pixels})
    np.testing.assert_allclose(features, expected, rtol=0 if device == "cpu" else 1e-3)


def test_a_device_that_does_not_start(file, monkeypatch):
    """As where onnxruntime is built for CUDA, and no driver is there."""
    if "cuda" in DEVICES:
        pytest.skip("it starts here")
    built = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    with pytest.raises(
        OptionsError,
        match=r"^--device cuda: onnxruntime is built for it, but cannot use it here;",
    ):
        open_session(file, "mend it", device="auto")


def test_files_that_are_no_graphs(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    problems = {"none.onnx": "is missing", "folder.onnx": "is no file, but a folder or a device"}
    for name, problem in problems.items():
        with pytest.raises(CheckpointError, match=rf"{name} {problem}; copy it again$"):
            open_session(tmp_path / name, "copy it again")
    (tmp_path / "text.onnx").write_text("no\ngraph")
    with pytest.raises(
        CheckpointError, match=r"text\.onnx is no graph that can be run \(.+\); copy it again$"
    ) as raised:
        open_session(tmp_path / "text.onnx", "copy it again")
    assert "\n" not in str(raised.value)


def test_contents_take_the_place_of_files(tmp_path):
    """Of a graph that adds weights in another file."""
    weights = np.arange(40, dtype=np.float32)
    forms = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [40]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "adds", forms[:1], forms[1:],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[opset]), tmp_path / "adds.onnx",
        save_as_external_data=True, location="weights", size_threshold=0,
    )  # fmt: skip
    assert (tmp_path / "weights").stat().st_size == weights.nbytes
    contents = {name: (tmp_path / name).read_bytes() for name in ("adds.onnx", "weights")}
    for name in contents:
        (tmp_path / name).unlink()
    session = open_session(tmp_path / "adds.onnx", "mend it", contents=contents)
    assert session.run({"x": weights})[0].tolist() == (2 * weights).tolist()
    contents["weights"] = contents["weights"][:-4]
    with pytest.raises(CheckpointError, match=r"adds\.onnx is no graph that can .*; mend it$"):
        open_session(tmp_path / "adds.onnx", "mend it", contents=contents)


def test_inputs_that_a_graph_does_not_take(file):
    session = open_session(file, "mend it")
    with pytest.raises(
        CheckpointError, match=r"^\S+colour\.onnx cannot be run \(.+\); mend it$"
    ) as raised:
        session.run({"pixels": np.zeros((1, 4), np.uint8)})
    assert "onnxruntime_src" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model, "ir_version", 99), r"Unsupported model IR version: 99, max"),
        (
            lambda model: setattr(model.graph.node[0], "domain", "mine"),
            r".*mine:Cast\(-1\) is not a registered function/op",
        ),
    ],
)
def test_what_onnxruntime_cannot_open_is_told_without_the_places_in_its_code(file, change, reason):
    model = onnx.load(file)
    model.opset_import.add(domain="mine", version=1)
    change(model)
    file.write_bytes(model.SerializeToString())
    message = rf"colour\.onnx is no graph that can be run \({reason}.*\); mend it$"
    with pytest.raises(CheckpointError, match=message):
        open_session(file, "mend it")
