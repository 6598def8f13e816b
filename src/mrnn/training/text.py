"""Captions without photos: a network learns the language from them before it learns from pairs.

The CIDEr predictor takes what they say of photos like those that it is fitted to.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
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
    texts = [_read(file, known) for file in files]
    kept = _without(texts, unseen)
    every = [caption.words for text in kept for caption in text]
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


def read_photos_of_text(
    files: Sequence[Path], unseen: Iterable[CaptionedImage], vocabulary: Vocabulary
) -> list[list[list[int]]]:
    """The captions of each photo that the files tell of, without those of `unseen`.

    Captions of one photo follow each other in a file. Where it does not name the photos, each
    caption is of its own. Raises DataError as `read_training_text`.
    """
    photos: list[list[list[int]]] = []
    last = ""
    for caption in chain.from_iterable(_without([_read(f, vocabulary) for f in files], unseen)):
        if not caption.photo or caption.photo != last:
            photos.append([])
        photos[-1].append(vocabulary.encode(caption.words))
        last = caption.photo
    return photos


def _without(
    texts: Sequence[Sequence[TextCaption]], unseen: Iterable[CaptionedImage]
) -> list[list[TextCaption]]:
    """What is left without captions of these images."""
    left_out = {tuple(words) for image in unseen for words in image.words}
    return [[each for each in text if tuple(each.words) not in left_out] for text in texts]


def _read(file: Path, known: Vocabulary) -> list[TextCaption]:
    captions = list(read_text_captions(file))
    if not any(word in known for caption in captions for word in caption.words):
        raise DataError(
            f"{file}: no word of the training captions is in it; is it text in another language?"
        )
    return captions
