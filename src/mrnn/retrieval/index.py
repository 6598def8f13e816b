"""INDEX/: a feature store of photos or sentences with their vectors in the joint embedding.

A row of photos has its `features` (float16) and its `vectors` (float32); one of sentences its
`vectors`, log P(sentence) in `marginals` and the hubness correction in `hubness` (float32). A photo
is named by its absolute path, a sentence by its text. What makes one is in index_writer.py.

Letters: D joint embedding.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mrnn.data.feature_store.shard import Column
from mrnn.data.feature_store.store import (
    CONFIG,
    FeatureStore,
    StoreConfig,
    read_config,
    read_json_config,
)
from mrnn.data.photo_names import name_as_text
from mrnn.errors import DataError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import Heads
from mrnn.model.image_encoder import ImageEncoder
from mrnn.tokenizer import tokenize

MEND = "run mrnn index again"

Kind = Literal["photos", "sentences"]


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


Index = FeatureStore[IndexConfig]


@dataclass(frozen=True)
class IndexChanges:
    """How many rows of an index a run added, replaced and removed, and how many are away."""

    new: int
    changed: int
    forgotten: int
    away: int = 0
    """Photos that are missing or cannot be read, or sentences in no file; they stay."""


@dataclass(frozen=True)
class RetrievalModel:
    """A model with heads."""

    checkpoint: Checkpoint
    heads: Heads
    encoder_file: Path | None = None
    """The file of its image encoder, if that does not ship with the package."""

    @classmethod
    def load(
        cls, folder: Path, encoder_file: str | Path | None = None, device: str = "cpu"
    ) -> "RetrievalModel":
        """Raises CheckpointError, also for a model without heads; OptionsError for a device."""
        checkpoint = Checkpoint.load(folder, device)
        return cls(checkpoint, heads_of(checkpoint), Path(encoder_file) if encoder_file else None)

    @classmethod
    def of(cls, checkpoint: Checkpoint, encoder: ImageEncoder) -> "RetrievalModel":
        """Of what is loaded already. Raises CheckpointError for a model without heads."""
        model = cls(checkpoint, heads_of(checkpoint))
        model.__dict__["encoder"] = encoder  # where a cached property keeps what it found
        return model

    @cached_property
    def encoder(self) -> ImageEncoder:
        """Loaded when the first photo must be encoded."""
        return self.checkpoint.load_encoder(self.encoder_file)

    def config(self, holds: Kind) -> IndexConfig:
        """The configuration of an index made by this model."""
        identity = self.checkpoint.encoder
        columns = {
            "vectors": Column(dtype="float32", size=len(self.heads.joint_embedding.image_bias))
        }
        if holds == "photos":
            columns["features"] = Column(dtype="float16", size=identity.feature_size)
        else:
            columns |= dict.fromkeys(("marginals", "hubness"), Column(dtype="float32", size=1))
        return IndexConfig(
            encoder=identity,
            columns=columns,
            holds=holds,
            run=name_as_text(os.path.abspath(self.checkpoint.folder)),
            model=self.checkpoint.fingerprint,
            heads=self.heads.fingerprint,
        )

    def token_ids(self, sentence: str) -> list[int]:
        """The ids of its words, unknown ones included."""
        return self.checkpoint.vocabulary.encode(tokenize(sentence))


def heads_of(checkpoint: Checkpoint) -> Heads:
    """Raises CheckpointError, which says what is missing, for a model without."""
    return checkpoint.heads or Heads.load(
        checkpoint.folder, checkpoint.config.model, checkpoint.fingerprint
    )


def read_index_config(folder: Path) -> IndexConfig:
    """Raises DataError if the folder is no index, or a damaged one."""
    file = folder / CONFIG
    if not file.exists():
        raise DataError(f"{folder} is not an index; make one with mrnn index")
    _, content = read_json_config(folder, MEND)
    if not (isinstance(content, dict) and "holds" in content):
        raise DataError(f"{folder} is not an index; make one in another folder with mrnn index")
    return read_config(folder, IndexConfig, MEND)


def open_index(folder: Path) -> Index:
    """The rows that are there now, on the disk. Raises DataError."""
    read_index_config(folder)
    return FeatureStore.open(folder, IndexConfig, MEND)
