import onnx
import pytest
from onnx import TensorProto, helper

from mrnn.model.onnx_file import check_whole
from tests.model.tiny_encoder import write_colour_encoder


@pytest.fixture
def file(tmp_path):
    return write_colour_encoder(tmp_path / "colour.onnx")


def changed(file, change):
    model = onnx.load(file, load_external_data=False)
    change(model)
    file.write_bytes(model.SerializeToString())


def refused(file):
    with pytest.raises(ValueError, match=r"^ ") as raised:
        check_whole(file)
    return str(raised.value)


def external(place):
    """A tensor whose values lie elsewhere."""
    tensor = TensorProto(name="more", dims=[2], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", place), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def test_a_whole_file(file):
    check_whole(file)


PLACES = ["../../../etc/passwd", "/dev/zero", "beside.bin"]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file(file, place):
    changed(file, lambda model: model.graph.initializer.append(external(place)))
    assert refused(file) == f" keeps weights in another file, {place!r}; save it as one"


@pytest.mark.parametrize("operator", ["Loop", "Scan", "If"])
def test_loops_and_what_is_in_graphs_of_nodes(file, operator):
    body = helper.make_graph([], "body", [], [], initializer=[external("x.bin")])
    attribute = "then_branch" if operator == "If" else "body"
    node = helper.make_node(operator, ["scale"], ["more"], **{attribute: body})
    changed(file, lambda model: model.graph.node.append(node))
    expected = "keeps weights in another file" if operator == "If" else "has loops, which an image"
    assert expected in refused(file)


def test_weights_in_attributes_and_functions(file):
    constant = helper.make_node("Constant", [], ["more"], value=external("x.bin"))
    function = helper.make_function("own", "F", [], ["more"], [constant], [])
    whole = file.read_bytes()
    changed(file, lambda model: model.graph.node.append(constant))
    assert "another file, 'x.bin'" in refused(file)
    file.write_bytes(whole)
    changed(file, lambda model: model.functions.append(function))
    assert "another file, 'x.bin'" in refused(file)


def test_graphs_in_graphs_without_end(file):
    node = helper.make_node("Identity", ["location"], ["b"])
    for _ in range(30):
        node = helper.make_node(
            "If", ["a"], ["b"], then_branch=helper.make_graph([node], "g", [], [])
        )
    changed(file, lambda model: model.graph.node.append(node))
    assert refused(file) == " has graphs that are nested too deeply"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" " * 1_000_000, "has more than 100,000 parts, so it is no image encoder"),
        (b"\x3a\xff", "is no ONNX file, or damaged"),
        (b"\x3a" + b"\xff" * 20, "is no ONNX file, or damaged"),
        (b"\x3a\x7f\0", "is no ONNX file, or cut short"),
        (b"\x3b\0", "is no ONNX file, or damaged"),
    ],
)
def test_what_is_no_onnx(file, content, message):
    file.write_bytes(content)
    assert refused(file) == f" {message}"


def test_sizes_and_folders(file, tmp_path):
    with file.open("r+b") as stream:
        stream.truncate(2**31)
    assert refused(file) == " is larger than 2 GB, which no ONNX file can be"
    assert refused(tmp_path) == " cannot be read (Is a directory)"
