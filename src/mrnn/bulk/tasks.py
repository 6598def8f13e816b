"""What is done to the photos of a shard: captions, or features and embeddings.

Letters: F image feature, D joint embedding.
"""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from mrnn import __version__
from mrnn.bulk.formats import Format
from mrnn.bulk.job import Job
from mrnn.captioning.captioner import Captioner
from mrnn.captioning.results import ImageCaptions
from mrnn.data.extraction import to_float16
from mrnn.data.images import NamedImage, load_image
from mrnn.data.photos.names import name_as_text
from mrnn.data.shards.photo import ShardPhoto
from mrnn.errors import ImageError, MRNNError, printable
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.image_encoder import ImageEncoder
from mrnn.model.threads import in_threads
from mrnn.shapes import Float16, Float32


@dataclass(frozen=True)
class Embedded:
    """Feature and embedding of a photo, or what is wrong with it."""

    image: str
    feature: Float16[np.ndarray, " F"] | None = None
    embedding: Float32[np.ndarray, " D"] | None = None
    """None for a model without heads."""
    error: str | None = None


Result = ImageCaptions | Embedded
Add = Callable[[ShardPhoto, Result], None]
"""Adds the result of a photo to an output."""


@runtime_checkable
class Task(Protocol):
    """Photos to results, a result for each photo in their order."""

    @property
    def job(self) -> Job:
        """What the results depend on."""
        ...

    def results(self, photos: Iterable[ShardPhoto]) -> Iterator[tuple[ShardPhoto, Result]]:
        """Those of one shard: no batch goes beyond it."""
        ...


@dataclass(frozen=True)
class CaptionTask:
    """Photos to captions."""

    captioner: Captioner
    decoding: DecodingOptions
    reranking: RerankingOptions
    files: Format = Format.parquet
    with_images: bool = False
    consensus: str | None = None

    @property
    def job(self) -> Job:
        """What the captions depend on."""
        checkpoint = self.captioner.checkpoint
        return Job(
            mrnn=__version__, holds="captions", files=self.files, with_images=self.with_images,
            model=checkpoint.fingerprint, heads=_heads(checkpoint), device=checkpoint.device,
            decoding=self.decoding,
            reranking=self.captioner.applied(self.decoding, self.reranking),
            consensus=self.consensus,
        )  # fmt: skip

    def results(self, photos: Iterable[ShardPhoto]) -> Iterator[tuple[ShardPhoto, ImageCaptions]]:
        """As `mrnn caption` captions them; a photo is named by its key."""
        waiting: deque[ShardPhoto] = deque()

        def images() -> Iterator[NamedImage]:
            for photo in photos:
                waiting.append(photo)
                if not photo.error:
                    yield _image(photo)

        for result in self.captioner.stream(images(), self.decoding, self.reranking):
            yield from _failures(waiting)
            yield waiting.popleft(), result
        yield from _failures(waiting)


def load_caption_task(
    model: Path,
    encoder_file: Path | None,
    decoding: DecodingOptions,
    reranking: RerankingOptions,
    *,
    consensus: str | None = None,
    files: Format = Format.parquet,
    with_images: bool = False,
) -> CaptionTask:
    """On any machine that has the model. Raises what `Captioner.load` raises."""
    captioner = Captioner.load(model, consensus, encoder_file=encoder_file)
    return CaptionTask(captioner, decoding, reranking, files, with_images, consensus)


def _failures(waiting: deque[ShardPhoto]) -> Iterator[tuple[ShardPhoto, ImageCaptions]]:
    """Those that could not be read, up to the first that could."""
    while waiting and waiting[0].error:
        photo = waiting.popleft()
        yield photo, ImageCaptions(image=name_as_text(photo.key), error=_error(photo))


@dataclass(frozen=True)
class EmbeddingTask:
    """Photos to features, and to vectors of the joint embedding of a model with heads."""

    checkpoint: Checkpoint
    encoder: ImageEncoder

    @property
    def job(self) -> Job:
        """What the vectors depend on."""
        heads = self.checkpoint.heads
        return Job(
            mrnn=__version__, holds="embeddings", files=Format.parquet,
            model=self.checkpoint.fingerprint, heads=_heads(self.checkpoint),
            device=self.checkpoint.device,
            feature_size=self.checkpoint.encoder.feature_size,
            embedding_size=len(heads.joint_embedding.image_bias) if heads else None,
        )  # fmt: skip

    def results(self, photos: Iterable[ShardPhoto]) -> Iterator[tuple[ShardPhoto, Embedded]]:
        """Each photo by itself."""
        yield from in_threads(photos, self._result)

    def _result(self, photo: ShardPhoto) -> tuple[ShardPhoto, Embedded]:
        try:
            return photo, self._embedded(photo)
        except MRNNError as error:
            return photo, Embedded(name_as_text(photo.key), error=str(error))

    def _embedded(self, photo: ShardPhoto) -> Embedded:
        if photo.error:
            raise ImageError(_error(photo))
        encoder, heads = self.encoder, self.checkpoint.heads
        pixels = encoder.preprocess(
            load_image(_image(photo), least_side=encoder.identity.least_side)
        )
        feature = to_float16(encoder.encode(pixels), photo.key)
        embedding = heads.embed_image(feature[None])[0] if heads else None
        return Embedded(name_as_text(photo.key), feature, embedding)


def load_embedding_task(
    model: Path, encoder_file: Path | None, device: str = "cpu"
) -> EmbeddingTask:
    """On any machine that has the model. Raises CheckpointError."""
    checkpoint = Checkpoint.load(model, device)
    return EmbeddingTask(checkpoint, checkpoint.load_encoder(encoder_file))


def _image(photo: ShardPhoto) -> NamedImage:
    return NamedImage(photo.key, io.BytesIO(photo.content))


def _error(photo: ShardPhoto) -> str:
    return f"{printable(photo.key)}: {photo.error}"


def _heads(checkpoint: Checkpoint) -> str | None:
    return checkpoint.heads.fingerprint if checkpoint.heads else None
