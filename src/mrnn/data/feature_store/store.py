"""A feature store: rows of numbers, each with the name and stamp of the photo it is of.

STORE/config.json                 what the store holds, and which shards are its present ones
STORE/shard-000001.safetensors    some of the rows; see shard.py

Shards never change. Renaming config.json adds, removes or merges them, so a reader finds the store
before or after. What writes one is in writer.py.

Letters: N rows asked for, R rows of a shard, X numbers of a row.
"""

import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mrnn.data.feature_store.keys import KeyTable, keys_of
from mrnn.data.feature_store.shard import STAMP, Column, Shard
from mrnn.errors import DataError
from mrnn.files import LARGEST_OWN, first_problem, parse_json
from mrnn.model.config import EncoderIdentity
from mrnn.shapes import Bool, Float, Int, UInt64

FORMAT = 3
CONFIG = "config.json"
SHARD = re.compile(r"shard-(\d{6,9})\.safetensors")
ATTEMPTS = 5
"""To open shards that a writer may be merging."""


class ShardEntry(BaseModel):
    """A shard that counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: str = Field(pattern=rf"^{SHARD.pattern}$")
    rows: int = Field(ge=1, le=2**40)
    removed: tuple[int, ...] = ()
    """Removed rows, from 0."""

    @model_validator(mode="after")
    def _check_removed(self) -> "ShardEntry":
        places = (-1, *self.removed, self.rows)
        if any(low >= high for low, high in pairwise(places)):
            raise ValueError(f"removed must be rising numbers below {self.rows:,}")
        return self

    @property
    def kept(self) -> Bool[np.ndarray, " R"]:
        """Which rows count."""
        kept = np.ones(self.rows, dtype=bool)
        kept[list(self.removed)] = False
        return kept


class StoreConfig(BaseModel):
    """The content of config.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int = FORMAT
    encoder: EncoderIdentity
    """The encoder of the features, or of the model that goes with them."""
    columns: dict[Annotated[str, Field(pattern="^[a-z_]{1,40}$")], Column]
    made: int = Field(default=0, ge=0, le=10**9)
    """Shards that were ever made: a name is never used again."""
    shards: tuple[ShardEntry, ...] = ()

    @model_validator(mode="after")
    def _check_shards(self) -> "StoreConfig":
        numbers = [int(re.findall(r"\d+", shard.file)[0]) for shard in self.shards]
        if len(set(numbers)) < len(numbers):
            raise ValueError("a shard is there twice")
        if numbers and max(numbers) > self.made:
            raise ValueError(f"made is {self.made:,}, but there is a shard {max(numbers):,}")
        return self

    @property
    def rows(self) -> int:
        """How many count."""
        return sum(shard.rows - len(shard.removed) for shard in self.shards)


Config = TypeVar("Config", bound=StoreConfig)


@dataclass(frozen=True)
class FeatureStore(Generic[Config]):
    """A store as it was when it was opened; a writer may go on meanwhile.

    A row's number is its place among those of all shards, removed ones included. `mend` ends
    messages: what to run to have the rows made again.
    """

    folder: Path
    config: Config
    shards: tuple[Shard, ...]
    mend: str

    @classmethod
    def open(cls, folder: Path, form: type[Config], mend: str) -> "FeatureStore[Config]":
        """Reads which shards there are, and maps them; what is in them is checked when it is read.

        Raises DataError.
        """
        for attempt in range(ATTEMPTS):
            config = read_config(folder, form, mend)
            try:
                return cls.of(folder, config, mend)
            except FileNotFoundError as error:  # merged since its config was read, or gone
                if attempt == ATTEMPTS - 1:
                    raise DataError(f"{error.filename} does not exist; {mend}") from error
        raise AssertionError

    @classmethod
    def of(cls, folder: Path, config: Config, mend: str) -> "FeatureStore[Config]":
        """With the shards of a config that was read. Raises DataError or FileNotFoundError."""
        shards = tuple(_open_shard(folder / s.file, s.rows, config, mend) for s in config.shards)
        return cls(folder, config, shards, mend)

    def __len__(self) -> int:
        return self.config.rows

    @cached_property
    def starts(self) -> Int[np.ndarray, " _"]:
        """The number of each shard's first row, and of the row after the last."""
        return np.cumsum([0, *(entry.rows for entry in self.config.shards)])

    @cached_property
    def kept(self) -> Bool[np.ndarray, " _"]:
        """Which rows count."""
        return np.concatenate([np.ones(0, bool), *(entry.kept for entry in self.config.shards)])

    @cached_property
    def _table(self) -> KeyTable:
        keys = [np.zeros((0, 2), np.uint64), *(shard.arrays["keys"] for shard in self.shards)]
        rows = np.flatnonzero(self.kept)
        return KeyTable.of(np.concatenate(keys)[rows], rows)

    def find(self, names: Sequence[str]) -> Int[np.ndarray, " N"]:
        """The row of each name, -1 for one that is not there."""
        return self.find_keys(keys_of(names))

    def find_keys(self, keys: UInt64[np.ndarray, "N 2"]) -> Int[np.ndarray, " N"]:
        """As `find`, by `keys_of` the names."""
        return self._table.find(keys)

    def name(self, row: int) -> str:
        """The name of a row. Raises DataError if the shard is damaged."""
        place, own = self._place(row)
        try:
            return self.shards[place].name(own)
        except ValueError as error:
            raise damaged(self.shards[place].file, error, self.mend) from error

    def names(self) -> Iterator[tuple[int, str]]:
        """The rows that count, and what they are of. Raises DataError."""
        for shard, start in zip(self.shards, self.starts.tolist(), strict=False):
            try:
                names = shard.names()
            except ValueError as error:
                raise damaged(shard.file, error, self.mend) from error
            kept = self.kept[start : start + len(names)].tolist()
            yield from ((row, name) for row, name in enumerate(names, start) if kept[row - start])

    def take(self, column: str, rows: Int[np.ndarray, " N"]) -> np.ndarray:
        """These rows of a column, in memory, in this order.

        Raises DataError where a value is not finite.
        """
        values = self._take(column, rows)
        if not _all_finite(values):
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))[0]
            place, own = self._place(int(rows[bad]))
            problem = f"the {column} of row {own + 1} are not finite"
            raise damaged(self.shards[place].file, problem, self.mend)
        return values

    def stamps(self, rows: Int[np.ndarray, " N"]) -> Int[np.ndarray, "N 3"]:
        """Size, time and hash of the photos that these rows are of."""
        return self._take("stamps", rows)

    def _place(self, row: int) -> tuple[int, int]:
        """Which shard a row is in, and where there."""
        place = int(np.searchsorted(self.starts, row, "right")) - 1
        return place, row - int(self.starts[place])

    def _take(self, array: str, rows: Int[np.ndarray, " N"]) -> np.ndarray:
        places = np.searchsorted(self.starts, rows, "right") - 1
        column = self.config.columns.get(array)
        size, dtype = (column.size, column.dtype) if column else (STAMP, "int64")
        values = np.empty((len(rows), size), dtype)
        for place in sorted(set(places.tolist())):
            here = places == place
            values[here] = self.shards[place].arrays[array][rows[here] - self.starts[place]]
        return values


def _all_finite(values: Float[np.ndarray, "N X"]) -> bool:
    """As `np.isfinite`, but for float16 twice as fast: by the bits of the exponent."""
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    exponent = np.uint16(0x7C00)
    return not ((values.view(np.uint16) & exponent) == exponent).any()


def read_config(folder: Path, form: type[Config], mend: str) -> Config:
    """Strictly, the format first. Raises DataError."""
    file, remove = folder / CONFIG, _remove(mend)
    text, content = read_json_config(folder, mend)
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int or found != FORMAT:
        raise DataError(f"{file} has format {found!r:.20}, not {FORMAT}; upgrade mrnn, or {remove}")
    try:
        return form.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{file} is damaged ({first_problem(error):.100}); {remove}") from error


def read_json_config(folder: Path, mend: str) -> tuple[bytes, Any]:
    """The text of config.json, and what it says. Raises DataError."""
    file, remove = folder / CONFIG, _remove(mend)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would never answer
            raise DataError(f"{file} is not a plain file; {remove}")
        if status.st_size > LARGEST_OWN:
            raise DataError(f"{file} is damaged ({status.st_size / 1e6:,.0f} MB); {remove}")
        text = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    try:
        return text, parse_json(text, file, unique_keys=True)
    except DataError as error:
        raise DataError(f"{error}; {remove}") from None


def _remove(mend: str) -> str:
    return f"remove its folder if mrnn made it, then {mend}"


def _open_shard(file: Path, rows: int, config: StoreConfig, mend: str) -> Shard:
    try:
        return Shard.open(file, rows, config.columns)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from error
    except ValueError as error:
        raise damaged(file, error, mend) from error


def damaged(shard: Path, problem: object, mend: str) -> DataError:
    """The error for a shard with damaged content."""
    return DataError(f"{shard} is damaged ({problem}); remove it, then {mend}")


def _unreadable(file: Path, error: OSError) -> DataError:
    mend = "; change that with chmod +r" if isinstance(error, PermissionError) else ""
    return DataError(f"{file} cannot be read ({error.strerror}){mend}")
