"""What an ONNX file is made of, read before ONNX Runtime opens it.

Only what is asked here is looked at: whether the file holds all its weights itself, and no loops,
which may never end. All else is for ONNX Runtime to judge. The format is protocol buffers: fields
of a number, a type and a value.

Source: onnx.proto3 of ONNX 1.17; "Encoding", protobuf.dev.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LARGEST = 2**31 - 1
"""Bytes of a message in protocol buffers."""
DEEPEST, MOST_FIELDS = 20, 100_000
"""Graphs in graphs, and fields that are looked at: networks have some thousands."""
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
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            if size > LARGEST:
                raise ValueError(" is larger than 2 GB, which no ONNX file can be")
            if not size:
                raise ValueError(" is empty")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _Walk(content).check_model()
    except OSError as error:
        raise ValueError(f" cannot be read ({error.strerror or error})") from None


@dataclass
class _Walk:
    """Through the fields of a file."""

    content: mmap.mmap
    fields: int = 0

    def check_model(self) -> None:
        """Its graph, and the nodes of its functions."""
        for part in self._parts(_Part(0, 0, len(self.content))):
            if part.number == MODEL_GRAPH:
                self._check_graph(part, 0)
            elif part.number == MODEL_FUNCTIONS:
                for own in self._parts(part):
                    if own.number == FUNCTION_NODE:
                        self._check_node(own, 0)

    def _check_graph(self, graph: _Part, depth: int) -> None:
        if depth > DEEPEST:
            raise ValueError(" has graphs that are nested too deeply")
        for part in self._parts(graph):
            if part.number == GRAPH_NODE:
                self._check_node(part, depth)
            elif part.number == GRAPH_INITIALIZER:
                self._check_tensor(part)

    def _check_node(self, node: _Part, depth: int) -> None:
        whole = self.content[node.start : node.end]
        if not any(word in whole for word in (LOCATION, *LOOPS)):
            return  # as nearly always, and quickly
        for part in self._parts(node):
            if part.number == NODE_OPERATOR and self.content[part.start : part.end] in LOOPS:
                raise ValueError(" has loops, which an image encoder does not need")
            if part.number == NODE_ATTRIBUTE:
                for own in self._parts(part):
                    if own.number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                        self._check_graph(own, depth + 1)
                    elif own.number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                        self._check_tensor(own)

    def _check_tensor(self, tensor: _Part) -> None:
        for part in self._parts(tensor):
            if part.number == TENSOR_EXTERNAL:
                entry = {own.number: self.content[own.start : own.end] for own in self._parts(part)}
                if entry.get(ENTRY_KEY) == LOCATION:
                    place = entry.get(ENTRY_VALUE, b"").decode("utf-8", "replace")
                    raise ValueError(
                        f" keeps weights in another file, {place!r:.80}; save it as one"
                    )

    def _parts(self, message: _Part) -> Iterator[_Part]:
        """The fields of a message. Raises ValueError where it is cut or damaged."""
        place = message.start
        while place < message.end:
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise ValueError(f" has more than {MOST_FIELDS:,} parts, so it is no image encoder")
            tag, begin = self._varint(place, message.end)
            kind = tag & 7
            if kind == VARINT:
                _, place = self._varint(begin, message.end)
            elif kind == BYTES:
                length, begin = self._varint(begin, message.end)
                place = begin + length
            elif kind in (FIXED32, FIXED64):
                place = begin + (4 if kind == FIXED32 else 8)
            else:
                raise ValueError(" is no ONNX file, or damaged")
            if place > message.end:
                raise ValueError(" is no ONNX file, or cut short")
            yield _Part(tag >> 3, begin, place)

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """A number, and where it ends."""
        value = shift = 0
        while place < end and shift < 70:
            byte = self.content[place]
            place += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, place
            shift += 7
        raise ValueError(" is no ONNX file, or damaged")
