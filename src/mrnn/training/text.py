"""Captions without photos, from which a network learns the language before it learns from pairs."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.text import read_text_captions
from mrnn.errors import DataError
from mrnn.tokenizer import SPECIAL_TOKENS, EncodedCaptions, Vocabulary


@dataclass(frozen=True)
class TrainingText:
    """The captions of some files, encoded."""

    captions: EncodedCaptions
    """Their image rows mean nothing."""
    sizes: tuple[tuple[str, int], ...]
    """Names of the files, and their numbers of captions."""
    left_out: int
    """Captions of photos that are not trained on, which the files have too."""
    hash: str
    """SHA-256 of the captions."""


def read_training_text(
    files: Sequence[Path], unseen: Iterable[CaptionedImage], known: Vocabulary, min_count: int
) -> tuple[TrainingText, Vocabulary]:
    """The text without captions of `unseen`, and the vocabulary of pairs and text.

    The vocabulary begins with `known`, that of the pairs; words that are seen at least `min_count`
    times in the text follow. Raises DataError for a file without captions or without known words.
    """
    left_out = {tuple(words) for image in unseen for words in image.words}
    texts = [_read(file, known) for file in files]
    kept = [[words for words in text if tuple(words) not in left_out] for text in texts]
    every = [words for text in kept for words in text]
    if not every:
        raise DataError(
            f"{files[0]}: all its captions are of photos that are not trained on; give other text"
        )
    found = Vocabulary.build(every, min_count)
    own, more = known.words[len(SPECIAL_TOKENS) :], found.words[len(SPECIAL_TOKENS) :]
    vocabulary = Vocabulary([*own, *(word for word in more if word not in known)])
    text = TrainingText(
        EncodedCaptions.of([every], vocabulary),
        tuple((file.name, len(text)) for file, text in zip(files, kept, strict=True)),
        sum(map(len, texts)) - len(every),
        hashlib.sha256(json.dumps(every).encode()).hexdigest(),
    )
    return text, vocabulary


def _read(file: Path, known: Vocabulary) -> list[list[str]]:
    captions = list(read_text_captions(file))
    if not any(word in known for words in captions for word in words):
        raise DataError(
            f"{file}: no word of the training captions is in it; is it text in another language?"
        )
    return captions
