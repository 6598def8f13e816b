"""Captions without photos: a network learns the language from them before it learns from pairs.

The CIDEr predictor takes what they say of photos like those that it is fitted to.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mrnn.data.dataset import CaptionedImage
from mrnn.data.text import TextCaption, read_text_captions
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
    kept, left_out = _read_kept(files, unseen, known)
    every = [caption.words for text in kept for caption in text]
    found = Vocabulary.build(every, min_count)
    own, more = known.words[len(SPECIAL_TOKENS) :], found.words[len(SPECIAL_TOKENS) :]
    vocabulary = Vocabulary([*own, *(word for word in more if word not in known)])
    text = TrainingText(
        EncodedCaptions.of([every], vocabulary),
        tuple((file.name, len(text)) for file, text in zip(files, kept, strict=True)),
        left_out,
        hashlib.sha256(json.dumps(every).encode()).hexdigest(),
    )
    return text, vocabulary


def read_photos_of_text(
    files: Sequence[Path], unseen: Iterable[CaptionedImage], vocabulary: Vocabulary
) -> list[list[list[int]]]:
    """The captions of each photo that the files tell of, without those of `unseen`.

    Where a file does not name the photos, each caption is of its own. Raises DataError as
    `read_training_text`.
    """
    kept, _ = _read_kept(files, unseen, vocabulary)
    photos: list[list[list[int]]] = []
    for text in kept:
        named: dict[str, list[list[int]]] = {}
        for caption in text:
            own = named.setdefault(caption.photo, []) if caption.photo else []
            if not own:
                photos.append(own)
            own.append(vocabulary.encode(caption.words))
    return photos


def _read_kept(
    files: Sequence[Path], unseen: Iterable[CaptionedImage], known: Vocabulary
) -> tuple[list[list[TextCaption]], int]:
    """The captions of each file but for those of `unseen`, and the number of these."""
    out = {tuple(words) for image in unseen for words in image.words}
    texts = [_read(file, known) for file in files]
    kept = [[caption for caption in text if tuple(caption.words) not in out] for text in texts]
    if files and not any(kept):
        raise DataError(
            f"{files[0]}: all its captions are of photos that are not trained on; give other text"
        )
    return kept, sum(map(len, texts)) - sum(map(len, kept))


def _read(file: Path, known: Vocabulary) -> list[TextCaption]:
    captions = list(read_text_captions(file))
    if not any(word in known for caption in captions for word in caption.words):
        raise DataError(
            f"{file}: no word of the training captions is in it; is it text in another language?"
        )
    return captions
