"""Safetensors files of a model: what they hold is checked before a number is read, and after.

Problems are ValueErrors whose text is the end of a line that begins with the file's name.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from mrnn.model.quantization import SCALE

Shape = tuple[int | None, ...]
"""None is any length."""


class TensorForm(NamedTuple):
    """What a tensor is."""

    dtype: str
    """As safetensors calls it, such as F16."""
    shape: Shape

    def __str__(self) -> str:
        sides = ", ".join("any" if side is None else str(side) for side in self.shape)
        return f"{self.dtype} of shape ({sides})"

    def fits(self, wanted: "TensorForm") -> bool:
        """Whether type, number of axes and lengths are those wanted."""
        if self.dtype != wanted.dtype or len(self.shape) != len(wanted.shape):
            return False
        return all(
            other in (None, side) for side, other in zip(self.shape, wanted.shape, strict=True)
        )


class Header(NamedTuple):
    """What a file says that it holds; that it does is certain."""

    metadata: dict[str, str]
    forms: dict[str, TensorForm]


@dataclass(frozen=True)
class TensorLayout:
    """Where a tensor is in a file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    """In bytes from the start of the file."""
    length: int


def read_header(file: Path) -> Header:
    """The forms of the tensors, none of which is read. Raises ValueError."""
    if file.exists() and not file.is_file():
        raise ValueError(" is no file, but a folder or a device")
    try:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()
            parts = {name: opened.get_slice(name) for name in names}
            forms = {
                name: TensorForm(part.get_dtype(), tuple(part.get_shape()))
                for name, part in parts.items()
            }
            return Header(dict(opened.metadata() or {}), forms)
    except FileNotFoundError:
        raise ValueError(" is missing") from None
    except OSError as error:
        raise ValueError(f" cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        problem = " ".join(str(error).split())[:100]
        raise ValueError(f" is damaged ({problem})") from None


def check_forms(found: Mapping[str, TensorForm], wanted: Mapping[str, TensorForm]) -> None:
    """Raises ValueError where tensors are missing, unknown or of another type or shape."""
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise ValueError(f" lacks the tensor {name}")
        if name not in wanted:
            raise ValueError(f" has an unknown tensor {name!r:.60}")
        if not found[name].fits(wanted[name]):
            raise ValueError(f": {name} is {found[name]!s:.80}, not {wanted[name]}")


def stored_as(shape: Shape, name: str) -> dict[str, TensorForm]:
    """How `mrnn.model.quantization` stores float values of a shape, by names."""
    if len(shape) < 2:
        return {name: TensorForm("F16", shape)}
    return {name: TensorForm("I8", shape), name + SCALE: TensorForm("F32", (shape[0], 1))}


def read_tensors(file: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Tensors of a file whose header was read. Raises ValueError for values that cannot be."""
    try:
        with safe_open(file, framework="np") as opened:
            tensors = {name: opened.get_tensor(name) for name in names}
    except (OSError, SafetensorError, MemoryError) as error:
        raise ValueError(f" cannot be read: {' '.join(str(error).split())[:100]}") from None
    check_values(tensors)
    return tensors


def check_values(tensors: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for NaN, infinities, scales of 0 or less, and int8 matrices of zeros."""
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise ValueError(f": {name} holds values that are not finite")
        if name.endswith(SCALE):
            if not ((tensor > 0) & (tensor <= LARGEST_SCALE)).all():
                raise ValueError(f": {name} holds scales beyond 0..{LARGEST_SCALE:,}")
        elif tensor.dtype == np.int8 and tensor.size and not tensor.any():
            raise ValueError(f": {name} holds only zeros")


LARGEST_SCALE = 65536
"""Of int8 values: products of dequantized numbers stay finite."""


def read_layout(file: Path) -> tuple[dict[str, TensorLayout], str]:
    """Where the tensors of a file are, and a digest of it. Raises ValueError."""
    read_header(file)  # of which nothing below needs to doubt
    with file.open("rb") as stream:
        start = stream.read(8)
        return layout_of(start + stream.read(int.from_bytes(start, "little")))


def layout_of(content: bytes) -> tuple[dict[str, TensorLayout], str]:
    """As `read_layout`, by the beginning of the content of a file that is known to be whole."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {
        name: TensorLayout(form["dtype"], tuple(form["shape"]), 8 + size + start, end - start)
        for name, form in header.items()
        for start, end in [form["data_offsets"]]
    }
    layout = json.dumps([size, sorted(header.items())], sort_keys=True)
    return tensors, hashlib.sha256(layout.encode()).hexdigest()[:16]
