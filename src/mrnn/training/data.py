"""What a model is trained and chosen on."""

import gc
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mrnn.data.dataset import Dataset
from mrnn.data.features import Features
from mrnn.errors import DataError
from mrnn.evaluation.evaluate import references_of
from mrnn.tokenizer import SPECIAL_TOKENS, EncodedCaptions, Vocabulary


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained and chosen on."""

    train: EncodedCaptions
    """Their image rows are those of `features`."""
    features: Features
    """Of all photos, on disk: a batch reads its own."""
    names: tuple[str, ...]
    """Of the photos, in the order of `features`."""
    dev: EncodedCaptions
    dev_features: np.ndarray
    dev_references: list[list[list[str]]]
    hash: str
    """Of all captions."""
    folder: str
    """Name of the dataset folder."""
    sizes: dict[str, tuple[int, int]]
    """Images and captions of each split."""


def read_training_data(
    dataset: Dataset, features: Features, min_count: int
) -> tuple[TrainingData, Vocabulary]:
    """Refuses what there is nothing to learn from."""
    train, dev = dataset.split("train"), dataset.split("dev")
    with _no_garbage():
        references, dev_references = references_of(train), references_of(dev)
    vocabulary = Vocabulary.build(
        (words for sentences in references for words in sentences), min_count
    )
    if len(vocabulary) == len(SPECIAL_TOKENS):
        raise DataError(
            f"No word is {min_count} times in the training captions of "
            f"{dataset.folder}; lower training.min_count"
        )
    if len(train) < 2:
        raise DataError(f"{dataset.folder} has fewer than two training images")
    data = TrainingData(
        EncodedCaptions.of(references, vocabulary, features.rows_of(train)),
        features,
        tuple(features.rows),
        EncodedCaptions.of(dev_references, vocabulary),
        features.of(dev),
        dev_references,
        hashlib.sha256(json.dumps([references, dev_references]).encode()).hexdigest(),
        dataset.folder.resolve().name,
        {
            split: (len(said), sum(map(len, said)))
            for split, said in (("train", references), ("dev", dev_references))
        },
    )
    return data, vocabulary


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Where millions of small things are made that all stay: to look for garbage takes long."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
