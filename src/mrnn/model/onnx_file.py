"""What an ONNX file is made of, read before ONNX Runtime opens it.

Only what is asked here is looked at: whether the file holds all its weights itself, and no loops,
which may never end. All else is for ONNX Runtime to judge. The format is protocol buffers: fields
of a number, a type and a value.

Source: onnx.proto3 of ONNX 1.17; "Encoding", protobuf.dev.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LARGEST = 2**31 - 1
"""Bytes of a message in protocol buffers."""
DEEPEST = 20
"""Graphs in graphs."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
FUNCTION_NODE = 7
NODE_OPERATOR, NODE_ATTRIBUTE = 4, 5
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_EXTERNAL, ENTRY_KEY, ENTRY_VALUE = 13, 1, 2
LOCATION = b"location"
LOOPS = (b"Loop", b"Scan")


class _Part(NamedTuple):
    """A field of a message: its number, and where its bytes are."""

    number: int
    start: int
    end: int


def check_whole(file: Path) -> None:
    """Raises ValueError for a file that keeps weights in another one, has loops, or is damaged.

    The text is the end of a line that begins with the file's name.
    """
    try:
        _check(file)
    except OSError as error:
        raise ValueError(f" cannot be read ({error.strerror or error})") from None


def _check(file: Path) -> None:
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        if size > LARGEST:
            raise ValueError(" is larger than 2 GB, which no ONNX file can be")
        if not size:
            raise ValueError(" is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check_model(content)


def _check_model(content: mmap.mmap) -> None:
    for part in _parts(content, 0, len(content)):
        if part.number == MODEL_GRAPH:
            _check_graph(content, part, 0)
        elif part.number == MODEL_FUNCTIONS:
            for own in _parts(content, part.start, part.end):
                if own.number == FUNCTION_NODE:
                    _check_node(content, own, 0)


def _check_graph(content: mmap.mmap, graph: _Part, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(" has graphs that are nested too deeply")
    for part in _parts(content, graph.start, graph.end):
        if part.number == GRAPH_NODE:
            _check_node(content, part, depth)
        elif part.number == GRAPH_INITIALIZER:
            _check_tensor(content, part)


def _check_node(content: mmap.mmap, node: _Part, depth: int) -> None:
    whole = content[node.start : node.end]
    if not any(word in whole for word in (LOCATION, *LOOPS)):
        return  # as nearly always, and quickly
    for part in _parts(content, node.start, node.end):
        if part.number == NODE_OPERATOR and content[part.start : part.end] in LOOPS:
            raise ValueError(" has loops, which an image encoder does not need")
        if part.number == NODE_ATTRIBUTE:
            for own in _parts(content, part.start, part.end):
                if own.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    _check_graph(content, own, depth + 1)
                elif own.number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    _check_tensor(content, own)


def _check_tensor(content: mmap.mmap, tensor: _Part) -> None:
    for part in _parts(content, tensor.start, tensor.end):
        if part.number == TENSOR_EXTERNAL:
            entry = {
                own.number: content[own.start : own.end]
                for own in _parts(content, part.start, part.end)
            }
            if entry.get(ENTRY_KEY) == LOCATION:
                place = entry.get(ENTRY_VALUE, b"").decode("utf-8", "replace")
                raise ValueError(f" keeps weights in another file, {place!r:.80}; save it as one")


def _parts(content: mmap.mmap, start: int, end: int) -> Iterator[_Part]:
    """The fields of a message. Raises ValueError where it is cut or damaged."""
    place = start
    while place < end:
        tag, place = _varint(content, place, end)
        kind = tag & 7
        if kind == VARINT:
            begin = place
            _, place = _varint(content, place, end)
        elif kind == BYTES:
            length, begin = _varint(content, place, end)
            place = begin + length
        elif kind in (FIXED32, FIXED64):
            begin, place = place, place + (4 if kind == FIXED32 else 8)
        else:
            raise ValueError(" is no ONNX file, or damaged")
        if place > end:
            raise ValueError(" is no ONNX file, or cut short")
        yield _Part(tag >> 3, begin, place)


def _varint(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while place < end and shift < 70:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    raise ValueError(" is no ONNX file, or damaged")
