"""The next index, while it is made: an interrupted run goes on where it stopped.

New files get new names; to rename config.json is all that it takes to switch to them. Until then
INDEX/pending.jsonl keeps the values that are worked out, and INDEX/lock keeps others out.

Letters: P values of an entry, D joint space.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mrnn.errors import DataError
from mrnn.files import SIBLING, write_whole
from mrnn.retrieval.ann_index import NeighbourGraph
from mrnn.retrieval.index_folder import (
    CONFIG,
    VALUES,
    IndexConfig,
    IndexFiles,
    names_of,
    read_index,
)
from mrnn.shapes import Float

PENDING, LOCK = "pending.jsonl", "lock"
OURS = re.compile(
    rf"({re.escape(CONFIG)}|entries-\d+\.jsonl|(values|vectors)-\d+\.npy|graph-\d+\.usearch)"
    rf"({re.escape(SIBLING)})?|{PENDING}|{LOCK}"
)
"""The names of an index's files; others are somebody's own."""
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class IndexWriter:
    """What was worked out once is not lost."""

    folder: Path
    config: IndexConfig
    known: dict[str, np.ndarray]
    """The values of entries of the present index, and of an interrupted run."""
    pending: BinaryIO

    def add(self, entry: str, values: np.ndarray) -> None:
        """Keep the values of one more entry, come what may."""
        text = base64.b64encode(values.tobytes()).decode()
        self.pending.write(json.dumps([entry, text]).encode() + b"\n")
        self.pending.flush()
        self.known[entry] = values

    def finish(
        self, entries: Sequence[str], vectors_of: Callable[[slice], Float[np.ndarray, "_ D"]]
    ) -> None:
        """Write the entries, in this order, and switch over. A full disk leaves the old index."""
        config = self.config.model_copy(update={"entries": len(entries)})
        names = names_of(config.generation)
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
        for name in filter(OURS.fullmatch, os.listdir(self.folder)):
            if name not in {*present, CONFIG, LOCK}:
                with suppress(PermissionError):  # Windows, of what is mapped: the next run's
                    (self.folder / name).unlink()


@contextmanager
def index_writer(folder: Path, config: IndexConfig, width: int) -> Iterator[IndexWriter]:
    """To write an index where there is none, or to renew one; an entry has `width` values.

    Values that another model made are not taken over. Raises DataError where the folder holds
    something else, is being written by another process, or cannot be written, as on a full disk.
    """
    try:
        with _writer(folder, config, width) as writer:
            yield writer
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror}); mend that and run mrnn index again, "
            "which goes on where this run stopped"
        ) from error


@contextmanager
def _writer(folder: Path, config: IndexConfig, width: int) -> Iterator[IndexWriter]:
    _present(folder, config)  # refuses before anything is left in a folder of others
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        files = _present(folder, config)  # what another writer left just before counts
        known = {}
        if files and _maker(files.config) == _maker(config):
            known = dict(zip(files.entries, files.values, strict=True))
        header = json.dumps([config.holds, _maker(config)]).encode() + b"\n"
        known |= dict(_read_pending(folder / PENDING, header, VALUES[config.holds], width))
        with (folder / PENDING).open("ab") as pending:
            if not pending.tell():
                pending.write(header)
            generation = files.config.generation + 1 if files else 1
            config = config.model_copy(update={"generation": generation})
            yield IndexWriter(folder, config, known, pending)


def _present(folder: Path, config: IndexConfig) -> IndexFiles | None:
    """The index that is there, of the same kind, if any."""
    if not (folder / CONFIG).exists():
        _refuse_others_folder(folder)
        return None
    files = read_index(folder, to_search=False)
    if (holds := files.config.holds) != config.holds:
        raise DataError(
            f"{folder} is an index of {holds}, not of {config.holds}; give another folder"
        )
    return files


def _maker(config: IndexConfig) -> str:
    """What the values of an index depend on."""
    if config.holds == "photos":
        return config.encoder.model_dump_json()
    return config.model + config.ranking


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
    if others := [name for name in names if not OURS.fullmatch(name)]:
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
        except BlockingIOError:
            raise DataError(f"{folder} is being written by another mrnn index; wait") from None
        yield
