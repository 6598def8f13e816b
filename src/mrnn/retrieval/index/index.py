"""INDEX/: photos or sentences with their vectors in the joint embedding, in one of two engines.

A row of photos has its `features` (float16) and its `vectors` (float32); one of sentences its
`vectors`, log P(sentence) in `marginals` and the hubness correction in `hubness` (float32). A photo
is named by its absolute path, or by its key in bulk vectors, and a sentence by its text. The rows
are in a feature store (engine "numpy"), or in a table of LanceDB. What makes one is in
writer.py.

Letters: D joint embedding.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mrnn.data.feature_store.shard import Column
from mrnn.data.feature_store.store import FeatureStore
from mrnn.data.photos.names import name_as_text
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import Heads
from mrnn.model.image_encoder import ImageEncoder
from mrnn.retrieval.index.config import MEND, Engine, IndexConfig, Kind, read_index_config
from mrnn.retrieval.index.lance_store import LanceStore
from mrnn.tokenizer import tokenize

Index = FeatureStore[IndexConfig] | LanceStore
"""The rows of an index, as they were when it was opened."""


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

    def config(self, holds: Kind, engine: Engine = "numpy") -> IndexConfig:
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
            engine=engine,
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


def open_index(folder: Path) -> Index:
    """The rows that are there now, on the disk.

    Raises DataError, and MissingExtraError where its engine is not installed.
    """
    if read_index_config(folder).engine == "lance":
        return LanceStore.open(folder)
    return FeatureStore.open(folder, IndexConfig, MEND)
