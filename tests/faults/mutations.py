"""Mutations of files, as accidents and attacks make them: hypothesis strategies of bytes.

`mutations(name, content)` chooses by the suffix of the name. Every kind of file gets mutated bytes;
JSON, TOML, lines, safetensors and ONNX also mutations that keep their form, so that what is wrong
gets past the parser. `tests.faults.sandbox` runs a loader on them.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st

DEEP = 100_000
LONG = 300_000
VALUES = (
    "-1", "0", "1", "-5", "2", "1.5", "1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1e-320",
    "1000000000", "2147483648", "-9223372036854775809", "1" + "0" * 5000, "true", "false", "null",
    '""', '"x"', r'"\ud800"', r'"\u0000"', r'"\u001b[31m\u0007"', r'"a\nb\rc"', r'"\u202e"',
    '"../../../etc/passwd"', '"/dev/zero"', '"=1+1"', f'"{"x" * LONG}"', "[]", "{}", "[[]]",
    "[1, 2, 3]", '{"a": 1}', "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP,
    "[" + "1," * 20_000 + "1]",
)  # fmt: skip
"""JSON texts of values that nobody expects."""
TOML_VALUES = (
    "-1", "0", "1.5", "1e400", "nan", "inf", "-inf", "1000000000", "9223372036854775808",
    "1" + "0" * 5000, "true", "''", '"x"', r'"\u0000"', r'"\u001B[31m"', '"""a\nb"""', "[]", "{}",
    "1979-05-27", "07:32:00", "[1, 'a']", "{a = 1}", f'"{"x" * LONG}"', "[" * DEEP + "]" * DEEP,
    "{a=" * 500 + "1" + "}" * 500, "", "0x7fffffffffffffff", "1_0",
)  # fmt: skip
LINES = (
    b"", b" ", b"\xff\xfe", b"\0", b"\x1b[31m\x07", "\u2028".encode(), b"\xc2\x85", b"\xef\xbb\xbf",
    b"\xed\xa0\x80", b"x" * LONG, b"a\tb", b"a b", b"null", b"[" * DEEP, b"<bos>", b"=1+1",
)  # fmt: skip
HEADS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\1\0\0\0")
SIZES = (1, 2, 4, 16, 200)


class Mutated(bytes):
    """Bytes that a message does not show whole."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes: {bytes(self[:200])!r}>"


def mutations(name: str, content: bytes) -> st.SearchStrategy[Mutated]:
    """Mutated bytes of a file of that name."""
    suffix = name.rpartition(".")[2].lower()
    kinds = [whole_mutations(content), byte_mutations(content)]
    own: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
        "json": json_mutations,
        "jsonl": json_line_mutations,
        "toml": toml_mutations,
        "safetensors": tensor_mutations,
        "onnx": onnx_mutations,
    }
    if suffix in own:
        kinds += 4 * [own[suffix](content)]
    if suffix not in ("safetensors", "onnx", "npy", "parquet"):
        kinds.append(line_mutations(content))
    return st.one_of(kinds).map(Mutated)


def _one_of(draw, values: Sequence[Any]) -> Any:
    """As `st.sampled_from`, which warns of long values."""
    return values[draw(st.integers(0, len(values) - 1))]


@st.composite
def whole_mutations(draw, content: bytes) -> bytes:
    """Of the file as a whole: empty, another encoding, twice, with something before or after."""
    text = content.decode("utf-8", "replace")
    wholes = [
        b"", b"\0", b"null", b"{}", b"[]", b"\n", b"\xff\xfe\xff", b"PK\3\4", b"\x80\4.",
        b"\xef\xbb\xbf" + content, text.encode("utf-16"), content + content, content[:-1],
        content + b"\n", content + b"\0" * 64, b" " * 1_000_000 + content, content[::-1],
        content.replace(b"\n", b"\r\n"), content.replace(b"\n", b"\r"), bytes(len(content)),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        b"<!DOCTYPE html><html></html>", b"[" * DEEP, b'{"a":' * DEEP,
    ]  # fmt: skip
    return _one_of(draw, wholes)


@st.composite
def byte_mutations(draw, content: bytes) -> bytes:
    """Bytes flipped, overwritten, cut off, doubled, zeroed, taken away or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        size = _one_of(draw, SIZES)
        # Sizes, counts and offsets are at the beginning.
        last = min(_one_of(draw, (64, 512, len(data))), len(data))
        place = draw(st.integers(0, max(0, last - 1)))
        match draw(st.integers(0, 7)):
            case 0 | 1 if data:
                for step in range(min(size, len(data) - place)):
                    data[place + step] ^= 1 << draw(st.integers(0, 7)) if step < 4 else 0x55
            case 2:
                data[place : place + 4] = _one_of(draw, HEADS)
            case 3:
                del data[max(1, place) :]
            case 4:
                data[place:place] = data[place : place + size]
            case 5:
                data[place : place + size] = bytes(min(size, len(data) - place))
            case 6:
                del data[place : place + size]
            case _:
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


# Text


@st.composite
def json_mutations(draw, content: bytes) -> bytes:
    """A value replaced, a key taken away, added, doubled or renamed, somewhere in the tree."""
    tree = json.loads(content)
    places = list(islice(_places(tree), 2000))
    mark, holder = "\0mark", [tree]
    parent, key = (holder, 0) if not places else _one_of(draw, places)
    match draw(st.integers(0, 7)) if isinstance(parent, dict) else 0:
        case 0 | 1 | 2 | 3:
            near = _neighbours(parent[key])
            text = _one_of(draw, VALUES if draw(st.booleans()) else near)
            parent[key] = mark
        case 4:
            text = ""
            del parent[key]
        case 5:
            text = _one_of(draw, VALUES)
            parent[_one_of(draw, ("more", "", "a\nb", "\x1b[31m", "k" * 5000))] = mark
        case 6:  # twice, with another value
            text = f"{json.dumps(parent[key])}, {json.dumps(key)}: {_one_of(draw, VALUES)}"
            parent[key] = mark
        case _:
            text = json.dumps(parent.pop(key))
            parent[key.upper()] = mark
    return json.dumps(holder[0]).replace(json.dumps(mark), text).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON tree, as its parent and its key."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def _neighbours(value: Any) -> list[str]:
    """JSON texts near a value: it in another type, one more, its negative, in a list."""
    near = [[value], {"value": value}, str(value)]
    if isinstance(value, int | float):
        near += [value + 1, value - 1, -value, value * 2, float(value), value * 1_000_000]
    if isinstance(value, str):
        near += [value + " ", value.upper(), value[:-1], value + "\n", value * 2]
    if isinstance(value, list):
        near += [
            value[:-1],
            value + value[-1:],
            value[::-1],
            {str(i): v for i, v in enumerate(value)},
        ]
    return [json.dumps(each) for each in near]


@st.composite
def json_line_mutations(draw, content: bytes) -> bytes:
    """One line of JSON lines mutated as JSON."""
    lines = content.split(b"\n")
    full = [number for number, line in enumerate(lines) if line.strip()]
    number = _one_of(draw, full)
    lines[number] = draw(json_mutations(lines[number]))
    return b"\n".join(lines)


@st.composite
def line_mutations(draw, content: bytes) -> bytes:
    """A line taken away, doubled, moved, replaced, or given another end."""
    lines = content.split(b"\n")
    number = draw(st.integers(0, len(lines) - 1))
    other = draw(st.integers(0, len(lines) - 1))
    match draw(st.integers(0, 6)):
        case 0:
            del lines[number]
        case 1:
            lines.insert(other, lines[number])
        case 2:
            lines[number], lines[other] = lines[other], lines[number]
        case 3:
            lines[number] += _one_of(draw, (b"\r", b" ", b"\0", b"\t", b"\xff", b'"'))
        case 4:
            lines[number] = lines[number][: len(lines[number]) // 2]
        case 5:
            lines[number] = _one_of(draw, LINES)
        case _:
            lines.insert(number, _one_of(draw, LINES))
    return b"\n".join(lines)


@st.composite
def toml_mutations(draw, content: bytes) -> bytes:
    """A value replaced, a key doubled or unknown, a table renamed or put in an array."""
    lines = content.decode().split("\n")
    keys = [number for number, line in enumerate(lines) if "=" in line.partition("#")[0]]
    tables = [number for number, line in enumerate(lines) if line.startswith("[")]
    number = _one_of(draw, keys)
    key = lines[number].partition("=")[0]
    match draw(st.integers(0, 6)):
        case 0 | 1 | 2 | 3:
            lines[number] = f"{key}= {_one_of(draw, TOML_VALUES)}"
        case 4:
            lines.insert(number, _one_of(draw, (lines[number], f"x{key}= 1", f"{key}.a = 1")))
        case 5 if tables:
            number = _one_of(draw, tables)
            name = lines[number].strip("[]")
            lines[number] = _one_of(
                draw, (f"[[{name}]]", f"[x{name}]", f"[{name}.{name}]", f"[{name}", "", "[]")
            )
        case _:
            del lines[number]
    return "\n".join(lines).encode()


# Safetensors

DTYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
"""Bytes of a number of each type."""
SHAPE_PARTS = (0, 1, -1, 2, 7, 2**31, 2**62, 2**64, 1.0, "7", None, [])
FILLS = (b"\0", b"\xff", b"\x7f", b"\0\x7c", b"\0\xfc", b"\x01\0\0\0", b"\xff\xff\xff\x7f")
"""Bytes that numbers are filled with: zeros, NaN, infinities of float16, odd ints."""

Tensors = dict[str, tuple[str, list[int], bytes]]


def tensor_mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """The header of a safetensors file mutated; or tensors, with a header that fits them."""
    return st.one_of(_header_mutations(content), _content_mutations(content))


def unpack(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def pack(header: bytes, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file of a header as JSON."""
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header) if length is None else length % 2**64) + header + data


@st.composite
def _header_mutations(draw, content: bytes) -> bytes:
    header, data = unpack(content)
    length = None
    kind = draw(st.integers(0, 3))
    if kind == 0:
        length = len(json.dumps(header)) + _one_of(
            draw, (-1, 1, -8, 8, 100, 2**31, 2**40, 2**63 - 1, -(2**62))
        )
        return pack(json.dumps(header).encode(), data, length)
    if kind == 1:
        return pack(draw(json_mutations(json.dumps(header).encode())), data)
    name = _one_of(draw, [key for key in header if key != "__metadata__"])
    form = header[name]
    if kind == 2:
        form["dtype"] = _one_of(draw, (*DTYPES, "F4", "", 5, None, "f16"))
    else:
        field = _one_of(draw, ("shape", "data_offsets"))
        if form[field] and draw(st.booleans()):
            place = draw(st.integers(0, len(form[field]) - 1))
            form[field][place] = _one_of(draw, (*SHAPE_PARTS, form[field][place] + 1))
        else:
            form[field] = _one_of(
                draw, ([], [0], [2**62] * 3, form[field][::-1], form[field] * 9, None, 5)
            )
    return pack(json.dumps(header).encode(), data)


@st.composite
def _content_mutations(draw, content: bytes) -> bytes:
    """Of a file that any reader of safetensors takes."""
    header, data = unpack(content)
    metadata = header.pop("__metadata__", None)
    tensors: Tensors = {
        name: (form["dtype"], form["shape"], data[slice(*form["data_offsets"])])
        for name, form in header.items()
    }
    for _ in range(draw(st.integers(1, 2))):
        name = _one_of(draw, sorted(tensors))
        dtype, shape, values = tensors.pop(name)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        match draw(st.integers(0, 8)):
            case 0:  # of another type
                dtype = _one_of(draw, sorted(DTYPES))
                values = (values * 8)[: count * DTYPES[dtype]]
            case 1:  # reshaped
                shape = _one_of(
                    draw, ([count], [count, 1], [1, *shape], shape[::-1], [1] * 40 + shape)
                )
            case 2:  # with more or fewer rows, or none
                rows = _one_of(draw, (0, 1, 2, 50))
                one = len(values) // max(1, shape[0] if shape else 1)
                values = (values[:one] * rows)[: one * rows]
                shape = [rows, *shape[1:]]
            case 3 | 4:  # filled
                fill = _one_of(draw, FILLS)
                values = (fill * (len(values) // len(fill) + 1))[: len(values)]
            case 5:  # one number changed
                size = DTYPES[dtype]
                place = draw(st.integers(0, max(0, count - 1))) * size
                fill = _one_of(draw, FILLS)
                values = values[:place] + (fill * 8)[:size] + values[place + size :]
            case 6:  # renamed
                name = _one_of(draw, (name + "x", name.upper(), "", "a\nb", "n" * 3000))
            case 7:  # one more
                tensors[name + _one_of(draw, (".scale", ".more", "2"))] = (
                    dtype,
                    shape,
                    values,
                )
            case _:  # gone
                continue
        tensors[name] = dtype, shape, values
        if not tensors:
            break
    return _packed(draw, tensors, metadata)


def _packed(draw, tensors: Tensors, metadata: Any) -> bytes:
    whole, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        start = len(data)
        data += values
        whole[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(data)]}
    if metadata is not None and draw(st.integers(0, 3)):
        if not draw(st.integers(0, 2)):  # its values are JSON too, or plain strings
            key = _one_of(draw, sorted(metadata))
            try:
                metadata[key] = draw(json_mutations(metadata[key].encode())).decode()
            except (ValueError, AttributeError):
                metadata[key] += "x"
        whole["__metadata__"] = metadata
    return pack(json.dumps(whole).encode(), data)


# ONNX

OPSETS = (0, 1, 7, 99, 2**40, -1)
PATHS = (
    "../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "",
    "missing",
    "..",
    ".",
    "a\nb",
    "x" * 5000,
)
OPERATORS = ("Nothing", "Loop", "ConstantOfShape", "Relu", "Identity", "Add", "MatMul", "")
AXES = (-1, 0, 1, 8, 2**40)


@st.composite
def onnx_mutations(draw, content: bytes) -> bytes:
    """A graph that is still protobuf: other operators, types, shapes, data, opsets, metadata."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(draw(st.integers(1, 2))):
        _ONNX[draw(st.integers(0, len(_ONNX) - 1))](draw, model)
    return model.SerializeToString()


def _version(draw, model: onnx.ModelProto) -> None:
    if draw(st.booleans()):
        model.ir_version = _one_of(draw, OPSETS)
    else:
        _one_of(draw, model.opset_import).version = _one_of(draw, OPSETS)


def _operator(draw, model: onnx.ModelProto) -> None:
    node = _one_of(draw, model.graph.node)
    if draw(st.booleans()):
        node.op_type = _one_of(draw, OPERATORS)
    else:
        node.domain = _one_of(draw, ("evil", "com.microsoft", ""))


def _wiring(draw, model: onnx.ModelProto) -> None:
    node = _one_of(draw, model.graph.node)
    match draw(st.integers(0, 3)):
        case 0 if node.input:
            node.input[0] = _one_of(draw, model.graph.node).output[0]
        case 1:
            model.graph.node.remove(node)
        case 2:
            model.graph.node.append(node)
        case _:
            node.ClearField("attribute")


def _tensor(draw, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = _one_of(draw, model.graph.initializer)
    match draw(st.integers(0, 4)):
        case 0:
            tensor.data_type = draw(st.integers(0, 24))
        case 1:
            dims = list(tensor.dims)
            place = draw(st.integers(0, len(dims)))
            dims[place : place + 1] = [_one_of(draw, AXES)]
            tensor.ClearField("dims")
            tensor.dims.extend(dims)
        case 2 if tensor.external_data:
            entry = _one_of(draw, tensor.external_data)
            entry.value = _one_of(draw, (*PATHS, "-1", "0", "9" * 30, "4096", "x"))
        case 3:
            tensor.raw_data = bytes(len(tensor.raw_data))
        case _:
            tensor.ClearField("external_data")
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", _one_of(draw, PATHS)
            tensor.data_location = onnx.TensorProto.EXTERNAL


def _interface(draw, model: onnx.ModelProto) -> None:
    graph = model.graph
    value = _one_of(draw, [*graph.input, *graph.output])
    form = value.type.tensor_type
    match draw(st.integers(0, 3)):
        case 0:
            form.elem_type = draw(st.integers(0, 24))
        case 1 if form.shape.dim:
            _one_of(draw, form.shape.dim).dim_value = _one_of(draw, AXES)
        case 2:
            value.name += "x"
        case _:
            form.ClearField("shape")


def _metadata(draw, model: onnx.ModelProto) -> None:
    if not model.metadata_props:
        return
    entry = _one_of(draw, model.metadata_props)
    values = (
        "",
        "x",
        "-1",
        "0",
        "1e9",
        "[NaN,0,0]",
        "[1e400,0,0]",
        "[300,-5,0]",
        "[" * 9999,
        "\x1b[31m",
    )
    entry.value = _one_of(draw, (*values, "x" * LONG))


_ONNX = (_version, _operator, _wiring, _tensor, _tensor, _interface, _metadata)
