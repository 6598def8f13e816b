"""Photos that are captioned together: their features, and what is wrong with the others."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Event
from zlib import crc32

import numpy as np

from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import ImageSource, NamedImage, load_image
from mrnn.data.photos.names import name_as_text
from mrnn.errors import MRNNError, printable
from mrnn.model.image_encoder import ImageEncoder, encode_finite
from mrnn.shapes import Float32


@dataclass
class PhotoGroup:
    """Photos, encoded."""

    places: list[int] = field(default_factory=list)
    """Those of the photos that could be encoded, among all."""
    keys: list[int] = field(default_factory=list)
    """A number for each, by its pixels."""
    features: list[Float32[np.ndarray, " F"]] = field(default_factory=list)
    failed: dict[int, ImageCaptions] = field(default_factory=dict)
    """By their places."""

    def results(self, done: Sequence[ImageCaptions]) -> list[ImageCaptions]:
        """A result for each photo in order, where `done` are those of the encoded ones."""
        found = self.failed | dict(zip(self.places, done, strict=False))
        return [found[place] for place in sorted(found)]


def encode_photos(
    encoder: ImageEncoder, sources: Sequence[ImageSource], stopped: Event
) -> PhotoGroup:
    """Load and encode photos; once `stopped` is set, no further ones."""
    group = PhotoGroup()
    for place, source in enumerate(sources):
        if stopped.is_set():
            break
        try:
            photo = load_image(source, least_side=encoder.identity.least_side)
            pixels = encoder.preprocess(photo)
            feature = encode_finite(encoder, pixels, printable(image_name(source)))
        except MRNNError as error:
            group.failed[place] = ImageCaptions(image=image_name(source), error=str(error))
        else:
            group.places.append(place)
            group.keys.append(crc32(b"".join(crops.tobytes() for crops in pixels)))
            group.features.append(feature)
    return group


def groups_of(
    sources: Iterable[ImageSource], size: int, threads: int
) -> Iterator[list[ImageSource]]:
    """Groups of `size` photos, a group for each thread at a time; the last ones are smaller.

    So a few photos are shared among all threads.
    """
    sources = iter(sources)
    while block := list(islice(sources, size * threads)):
        each = min(size, -(-len(block) // threads))
        for start in range(0, len(block), each):
            yield block[start : start + each]


def image_name(source: ImageSource) -> str:
    """The name of a photo in its result: as valid UTF-8 its path or name, or the object's type."""
    if isinstance(source, NamedImage):
        return name_as_text(source.name)
    if isinstance(source, str | Path):
        return name_as_text(str(source))
    return f"<{type(source).__name__}>"
