"""The index folder on disk: readers see the old index or the new one, whatever happens.

INDEX/config.json      what the index holds, and which files are its present ones
INDEX/entries-7.jsonl  a photo or a sentence a line
INDEX/values-7.npy     float16 image features, or float32 marginals of sentences: a row an entry
INDEX/vectors-7.npy    float32, the joint space: a row an entry
INDEX/graph-7.usearch  where asked for, near neighbours of the vectors

What makes a new one is in `index_writer.py`.

Letters: W entries, P values of an entry, D joint space.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.errors import DataError
from mrnn.files import first_problem
from mrnn.model.config import EncoderIdentity
from mrnn.retrieval.ann_index import NeighbourGraph, require_usearch
from mrnn.shapes import Float

FORMAT = 1
CONFIG = "config.json"
ATTEMPTS = 5
"""To open files that a writer may be replacing."""

Kind = Literal["photos", "sentences"]
VALUES: dict[Kind, np.dtype] = {"photos": np.dtype(np.float16), "sentences": np.dtype(np.float32)}
"""Of what numbers an entry's values are."""


class IndexConfig(BaseModel):
    """What config.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    holds: Kind
    run: str
    """The folder of the model that made it."""
    model: str
    """Fingerprint of that model."""
    ranking: str
    """Fingerprint of its joint space."""
    encoder: EncoderIdentity
    generation: int
    """The number in the names of the present files."""
    entries: int
    approximate: bool = False
    """Whether candidates come from a graph instead of the product with all vectors."""


@dataclass(frozen=True)
class IndexFiles:
    """An index as it was when it was opened; a writer may replace it meanwhile."""

    folder: Path
    config: IndexConfig
    entries: list[str]
    """Lines of JSON."""
    values: Float[np.ndarray, "W P"]
    vectors: Float[np.ndarray, "W D"]
    graph: NeighbourGraph | None = None
    """Of an approximate index, where it is asked for."""


def read_index(folder: Path, *, to_search: bool = True) -> IndexFiles:
    """The present index, its matrices memory-mapped; without its graph if not `to_search`.

    Raises DataError, or OptionsError where the extra is missing that an approximate index needs.
    """
    for attempt in range(ATTEMPTS):
        config = _read_config(folder)
        if to_search and config.approximate:
            require_usearch()
        try:
            return _open(folder, config, to_search=to_search)
        except PermissionError as error:
            raise _unreadable(folder, error) from error
        except (OSError, ValueError) as error:  # replaced since its config was read, or damaged
            if attempt == ATTEMPTS - 1:
                raise damaged(folder, " ".join(str(error).split())) from error
    raise AssertionError


def names_of(generation: int) -> tuple[str, str, str, str]:
    """Of the files of entries, values, vectors and graph."""
    return (
        f"entries-{generation}.jsonl",
        f"values-{generation}.npy",
        f"vectors-{generation}.npy",
        f"graph-{generation}.usearch",
    )


def _open(folder: Path, config: IndexConfig, *, to_search: bool) -> IndexFiles:
    names = names_of(config.generation)
    entries = (folder / names[0]).read_text(encoding="utf-8").splitlines()
    if len(entries) != config.entries:
        raise ValueError(f"{len(entries)} entries, but {CONFIG} says {config.entries}")
    values, vectors = (_open_matrix(folder / name, config.entries) for name in names[1:3])
    for matrix, kind, name in (
        (values, VALUES[config.holds], names[1]),
        (vectors, np.dtype(np.float32), names[2]),
    ):
        if matrix.dtype != kind:
            raise ValueError(f"{name} holds {matrix.dtype}, not {kind}")
    graph = None
    if to_search and config.approximate:
        graph = NeighbourGraph.open(folder / names[3], vectors.shape[1])
        if len(graph) != config.entries:
            raise ValueError(f"{names[3]} has {len(graph)} rows, not {config.entries}")
    return IndexFiles(folder, config, entries, values, vectors, graph)


def _open_matrix(file: Path, rows: int) -> np.ndarray:
    try:
        matrix: np.ndarray = np.lib.format.open_memmap(file, mode="r")
    except OSError:
        raise
    except Exception as error:  # the header is parsed as Python: a damaged one raises anything
        raise ValueError(f"{file.name}: {error}") from error
    if matrix.ndim != 2 or len(matrix) != rows:
        raise ValueError(f"{file.name} has shape {matrix.shape}, but {CONFIG} says {rows} entries")
    return matrix


def _read_config(folder: Path) -> IndexConfig:
    file = folder / CONFIG
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} is not an index; make one with mrnn index") from None
    except PermissionError as error:
        raise _unreadable(folder, error) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({error}); make an index in another folder, "
            f"or remove {folder} if it was one"
        ) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT or "holds" not in content:
        raise DataError(
            f"{file} is not of an index of format {FORMAT}, which this version reads; "
            "make one in another folder with mrnn index"
        )
    try:
        return IndexConfig.model_validate(content)
    except ValidationError as error:
        raise damaged(folder, f"{CONFIG}: {first_problem(error)}") from None


def damaged(folder: Path, problem: str) -> DataError:
    """What to say of an index whose files do not make sense."""
    return DataError(f"{folder} is damaged ({problem}); remove it and run mrnn index again")


def _unreadable(folder: Path, error: PermissionError) -> DataError:
    return DataError(
        f"{folder}: no permission to read {Path(error.filename).name}; change that with chmod +r"
    )
