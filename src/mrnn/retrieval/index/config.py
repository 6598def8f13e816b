"""The content of an index's config.json: what the index is of, and what keeps its rows."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from mrnn.data.feature_store.store import CONFIG, StoreConfig, read_config, read_json_config
from mrnn.errors import DataError

MEND = "run mrnn index again"

Kind = Literal["photos", "sentences"]
Engine = Literal["numpy", "lance"]


class IndexConfig(StoreConfig):
    """The content of config.json."""

    holds: Kind
    run: str
    """The folder of the model that made the index, by `name_as_text`."""
    model: str
    """Fingerprint of the model."""
    heads: str
    """Fingerprint of the heads."""
    roots: tuple[str, ...] = ()
    """The folders and globs whose photos, or the files whose lines it holds; as `run`."""
    exclude: tuple[str, ...] = ()
    """Patterns of photos and folders that are left out."""
    names: Literal["paths", "keys"] = "paths"
    """Whether photos are named by absolute paths, or by the keys of bulk vectors."""
    engine: Engine = "numpy"
    """What keeps the rows: shards, or a table of LanceDB."""
    version: int = Field(default=0, ge=0)
    """The version of the table that counts; 0 for the last, while old ones are removed."""
    partitions: int = Field(default=0, ge=0)
    """Of the table's ANN index, about; 0 without one."""
    partitioned: int = Field(default=0, ge=0)
    """Rows of which the partitions were made."""


def read_index_config(folder: Path) -> IndexConfig:
    """Raises DataError if the folder is no index, or a damaged one."""
    file = folder / CONFIG
    if not file.exists():
        raise DataError(f"{folder} is not an index; make one with mrnn index")
    _, content = read_json_config(folder, MEND)
    if not (isinstance(content, dict) and "holds" in content):
        raise DataError(f"{folder} is not an index; make one in another folder with mrnn index")
    return read_config(folder, IndexConfig, MEND)
