"""Retrieval ranks of the photos and sentences of a split, for a report.

Letters: S sentences.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.evaluation.retrieval import RetrievalReport
from mrnn.shapes import Int


class PhotoRanks(BaseModel):
    """Where what belongs to a photo is found among all photos and sentences, from 1."""

    model_config = ConfigDict(frozen=True)

    sentence: int
    """For the photo: the first of its sentences."""
    photos: tuple[int, ...]
    """For each of its sentences: the photo."""


def photo_ranks(
    retrieval: RetrievalReport, image_rows: Int[np.ndarray, " S"]
) -> tuple[PhotoRanks, ...]:
    """Of each image, given the images of all sentences, where retrieval had no folds."""
    firsts = retrieval.ranks["image_to_sentence"].tolist()
    photos = retrieval.ranks["sentence_to_image"]
    return tuple(
        PhotoRanks(sentence=first, photos=tuple(photos[image_rows == row].tolist()))
        for row, first in enumerate(firsts)
    )
