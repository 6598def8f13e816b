"""The captions and features that a model is trained and validated on."""

import gc
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrnn.data.dataset import Dataset
from mrnn.data.features import Features
from mrnn.data.splits import hold_out
from mrnn.errors import DataError
from mrnn.evaluation.evaluate import references_of
from mrnn.tokenizer import SPECIAL_TOKENS, EncodedCaptions, Vocabulary
from mrnn.training.text import TrainingText, read_training_text


@dataclass(frozen=True)
class TrainingData:
    """The train split, on which a model is trained, and the dev split, which chooses an epoch."""

    train: EncodedCaptions
    """Image rows are rows of `features`."""
    features: Features
    """Features of all photos; they stay on disk."""
    names: tuple[str, ...]
    """Names of all photos, in the order of `features`."""
    dev: EncodedCaptions
    """Image rows are rows of `dev_features`."""
    dev_features: np.ndarray
    dev_references: list[Sequence[Sequence[str]]]
    vocabulary: Vocabulary
    """The words of the train split, then those of the text alone."""
    hash: str
    """SHA-256 of the captions of both splits."""
    folder: str
    """The name of the dataset folder."""
    sizes: dict[str, tuple[int, int]]
    """Numbers of images and of captions, by split."""
    text: TrainingText | None = None


def read_training_data(
    dataset: Dataset,
    features: Features,
    min_count: int,
    held_out: int = 0,
    text: Sequence[Path] = (),
    text_min_count: int = 1,
) -> TrainingData:
    """Of the train split but for images that are held out, and of files of text.

    A word of the vocabulary occurs `min_count` times in the train split, or `text_min_count` times
    in the text. Raises DataError where a split, a caption or all words are missing, and for bad
    text; OptionsError where all images are held out.
    """
    (train, spare), dev = hold_out(dataset.split("train"), held_out), dataset.split("dev")
    with _no_garbage_collection():
        references, dev_references = references_of(train), references_of(dev)
    vocabulary = Vocabulary.build(
        (words for sentences in references for words in sentences), min_count
    )
    if len(vocabulary) == len(SPECIAL_TOKENS):
        raise DataError(
            f"{dataset.folder}: no word occurs {min_count} times in the training captions; lower "
            "training.min_count"
        )
    if len(train) < 2:
        raise DataError(f"{dataset.folder} has fewer than two training images")
    without_photos = None
    if text:
        unseen = [*spare, *(image for image in dataset.images if image.split != "train")]
        with _no_garbage_collection():
            without_photos, vocabulary = read_training_text(
                text, unseen, vocabulary, text_min_count
            )
    return TrainingData(
        EncodedCaptions.of(references, vocabulary, features.rows_of(train)),
        features,
        tuple(features.rows),
        EncodedCaptions.of(dev_references, vocabulary),
        features.of(dev),
        dev_references,
        vocabulary,
        hashlib.sha256(json.dumps([references, dev_references]).encode()).hexdigest(),
        dataset.folder.resolve().name,
        {
            split: (len(captions), sum(map(len, captions)))
            for split, captions in (("train", references), ("dev", dev_references))
        },
        without_photos,
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Faster where millions of small objects are made, and all are kept."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
