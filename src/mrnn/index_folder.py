"""The index folder on disk: readers see the old index or the new one, whatever happens.

INDEX/config.json      what the index holds, and which files are its present ones
INDEX/entries-7.jsonl  a photo or a sentence a line
INDEX/values-7.npy     float16 image features, or float32 marginals of sentences: a row an entry
INDEX/vectors-7.npy    float32, the joint space: a row an entry
INDEX/graph-7.usearch  where asked for, near neighbours of the vectors
INDEX/pending.jsonl    values that an interrupted run has worked out already

New files get new names; to rename config.json is all that it takes to switch to them.

Letters: W entries, P values of an entry, D joint space.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.encoders import EncoderIdentity
from mrnn.errors import DataError
from mrnn.neighbour_graph import NeighbourGraph, require_usearch
from mrnn.text_files import first_problem
from mrnn.whole_files import write_whole

FORMAT = 1
CONFIG, PENDING, LOCK = "config.json", "pending.jsonl", "lock"
ROWS_AT_ONCE = 4096
ATTEMPTS = 5
"""To open files that a writer may be replacing."""

Kind = Literal["photos", "sentences"]
VALUES = {"photos": np.dtype(np.float16), "sentences": np.dtype(np.float32)}
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


@dataclass(frozen=True)
class IndexWriter:
    """The next index, while it is made: what was worked out once is not lost."""

    folder: Path
    known: dict[str, np.ndarray]
    """The values of entries of the present index, and of an interrupted run."""
    pending: BinaryIO
    generation: int

    def add(self, entry: str, values: np.ndarray) -> None:
        """Keep the values of one more entry, come what may."""
        text = base64.b64encode(values.tobytes()).decode()
        self.pending.write(json.dumps([entry, text]).encode() + b"\n")
        self.pending.flush()
        self.known[entry] = values

    def finish(
        self,
        config: IndexConfig,
        entries: Sequence[str],
        vectors_of: Callable[[slice], Float[np.ndarray, "_ D"]],
    ) -> None:
        """Write the entries, in this order, and switch over. A full disk leaves the old index."""
        config = config.model_copy(update={"generation": self.generation, "entries": len(entries)})
        names = _names(config.generation)
        present = names if config.approximate else names[:3]
        try:
            lines = "".join(f"{entry}\n" for entry in entries)
            write_whole(self.folder / names[0], lines)
            _write_rows(
                self.folder / names[1],
                len(entries),
                lambda part: np.stack([self.known[entry] for entry in entries[part]]),
            )
            _write_rows(self.folder / names[2], len(entries), vectors_of)
            if config.approximate:
                vectors = np.lib.format.open_memmap(self.folder / names[2], mode="r")
                (self.folder / names[3]).write_bytes(NeighbourGraph.over(vectors).to_bytes())
            write_whole(self.folder / CONFIG, config.model_dump_json(indent=2) + "\n")
        except OSError:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            raise
        self.pending.close()
        for file in self.folder.iterdir():
            if file.name not in {*present, CONFIG, LOCK}:
                file.unlink()


@contextmanager
def index_writer(
    folder: Path, holds: Kind, maker: str, kind: np.dtype, width: int
) -> Iterator[IndexWriter]:
    """To write an index where there is none, or to renew one.

    `maker` names what the values depend on: others' values are not taken over. `kind` and `width`
    are those of an entry's values. Raises DataError where the folder holds something else, is
    being written by another process, or cannot be written, as on a full disk.
    """
    try:
        with _writer(folder, holds, maker, kind, width) as writer:
            yield writer
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror}); mend that and run mrnn index again, "
            "which goes on where this run stopped"
        ) from error


@contextmanager
def _writer(
    folder: Path, holds: Kind, maker: str, kind: np.dtype, width: int
) -> Iterator[IndexWriter]:
    if (folder / CONFIG).exists():
        files = read_index(folder, to_search=False)
        if files.config.holds != holds:
            raise DataError(
                f"{folder} is an index of {files.config.holds}, not of {holds}; give another folder"
            )
    else:
        files = None
        _refuse_others_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        known = {}
        if files and maker == _maker(files.config):
            known = dict(zip(files.entries, files.values, strict=True))
        header = json.dumps([holds, maker]).encode() + b"\n"
        known |= dict(_read_pending(folder / PENDING, header, kind, width))
        with (folder / PENDING).open("ab") as pending:
            if not pending.tell():
                pending.write(header)
            yield IndexWriter(folder, known, pending, files.config.generation + 1 if files else 1)


def photo_maker(encoder: EncoderIdentity) -> str:
    """What the features of photos depend on."""
    return encoder.model_dump_json()


def _maker(config: IndexConfig) -> str:
    if config.holds == "photos":
        return photo_maker(config.encoder)
    return config.model + config.ranking


def _names(generation: int) -> tuple[str, str, str, str]:
    return (
        f"entries-{generation}.jsonl",
        f"values-{generation}.npy",
        f"vectors-{generation}.npy",
        f"graph-{generation}.usearch",
    )


def _open(folder: Path, config: IndexConfig, *, to_search: bool) -> IndexFiles:
    names = _names(config.generation)
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


def _read_pending(
    file: Path, header: bytes, kind: np.dtype, width: int
) -> Iterator[tuple[str, np.ndarray]]:
    """What an interrupted run left, but for a torn last line, which is cut off."""
    with suppress(FileNotFoundError), file.open("r+b") as opened:
        if opened.readline() != header:
            opened.truncate(0)
            return
        whole = opened.tell()
        for line in opened:
            try:
                entry, text = json.loads(line)
                values = np.frombuffer(base64.b64decode(text), dtype=kind)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n") or values.shape != (width,):
                break
            whole += len(line)
            yield entry, values
        opened.truncate(whole)


def _write_rows(file: Path, count: int, rows: Callable[[slice], Float[np.ndarray, "_ P"]]) -> None:
    """An .npy file, some rows at a time: a memory map would crash on a full disk."""
    with file.open("wb") as opened:
        for start in range(0, count, ROWS_AT_ONCE):
            block = np.ascontiguousarray(rows(slice(start, start + ROWS_AT_ONCE)))
            if not start:
                head = {"descr": block.dtype.str, "fortran_order": False}
                np.lib.format.write_array_header_1_0(
                    opened, {**head, "shape": (count, block.shape[1])}
                )
            opened.write(block.tobytes())


def _refuse_others_folder(folder: Path) -> None:
    """A folder with files that are not of an index, finished or not."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; choose another folder") from None
    ours = (PENDING, LOCK, "entries-", "values-", "vectors-", "graph-")
    others = [name for name in names if not name.startswith(ours)]
    if others:
        raise DataError(f"{folder} holds something else, {others[0]!r}; choose another folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """For one writer at a time, where the system can lock files."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{folder} is being written by another mrnn index; wait") from None
        yield
