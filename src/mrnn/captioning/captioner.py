"""Photos in, captions out; also used by the command line and the evaluation.

Letters: N photos, F image feature.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, overload
from zlib import crc32

import numpy as np

from mrnn.captioning.caption_search import CaptionSearch, photos_at_once
from mrnn.captioning.confidence import signals_of
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.photo_group import encode_photos, groups_of, image_name
from mrnn.captioning.results import Caption, ImageCaptions
from mrnn.data.images import ImageSource
from mrnn.errors import CheckpointError, DataError, ImageError, OptionsError
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.model.config import DecodingOptions, EncoderIdentity, RerankingOptions
from mrnn.model.image_encoder import ImageEncoder
from mrnn.model.tags import Tag
from mrnn.model.threads import in_threads, thread_count
from mrnn.shapes import Float

if TYPE_CHECKING:
    from mrnn.captioning.consensus import Consensus, ConsensusOptions

LEAST_GROUP, LARGEST_GROUP = 4, 16
"""Photos that a thread captions together."""


class Captioner:
    """A trained model and its image encoder, ready to caption."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: ImageEncoder | None = None,
        consensus: "Consensus | None" = None,
    ) -> None:
        """Without an encoder it captions only features."""
        if encoder and (difference := checkpoint.encoder.difference(encoder.identity)):
            raise CheckpointError(
                f"This encoder is not the one that the model was trained with ({difference}); give "
                "that one"
            )
        self.checkpoint, self._encoder, self.consensus = checkpoint, encoder, consensus
        self._search = CaptionSearch(checkpoint, consensus)

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        consensus: str | Path | None = None,
        *,
        consensus_options: "ConsensusOptions | None" = None,
        encoder_file: str | Path | None = None,
        device: str = "cpu",
    ) -> "Captioner":
        """The model in a run's folder, or the one that ships in the package.

        `consensus` reranks captions: "self" by each other, a dataset folder by the captions of
        similar photos in its train split. `encoder_file` is the model's encoder, if that does not
        ship with the package. `device` is cpu, cuda, coreml, directml or auto. Raises
        CheckpointError, DataError for a dataset folder, OptionsError for a device.
        """
        loaded = cls.for_features(
            model, consensus, consensus_options=consensus_options, device=device
        )
        if loaded.checkpoint.encoder.imported:
            return loaded
        file = Path(encoder_file) if encoder_file else None
        return cls(loaded.checkpoint, loaded.checkpoint.load_encoder(file), loaded.consensus)

    @classmethod
    def for_features(
        cls,
        model: str | Path = DEFAULT_MODEL,
        consensus: str | Path | None = None,
        *,
        consensus_options: "ConsensusOptions | None" = None,
        device: str = "cpu",
    ) -> "Captioner":
        """As `load`, without the encoder: for features that you have already."""
        checkpoint = Checkpoint.load(Path(model), device)
        if consensus is None:
            if consensus_options is not None:
                raise OptionsError("consensus_options without consensus; give 'self' or a folder")
            return cls(checkpoint)
        from mrnn.captioning.consensus import Consensus  # datasets are for this alone

        return cls(checkpoint, consensus=Consensus.load(consensus, checkpoint, consensus_options))

    @property
    def encoder(self) -> ImageEncoder:
        """The image encoder. Raises CheckpointError if there is none."""
        if self._encoder is None:
            raise self.checkpoint.without_encoder()
        return self._encoder

    @overload
    def caption(  # type: ignore[overload-overlap]  # a path is a sequence, but of no photos
        self,
        images: ImageSource,
        decoding: DecodingOptions | None = None,
        reranking: RerankingOptions | None = None,
    ) -> ImageCaptions: ...
    @overload
    def caption(
        self,
        images: Sequence[ImageSource],
        decoding: DecodingOptions | None = None,
        reranking: RerankingOptions | None = None,
    ) -> list[ImageCaptions]: ...
    def caption(
        self,
        images: ImageSource | Sequence[ImageSource],
        decoding: DecodingOptions | None = None,
        reranking: RerankingOptions | None = None,
    ) -> ImageCaptions | list[ImageCaptions]:
        """Captions of one photo or of many: paths, PIL images, arrays (H x W x 3) or bytes.

        One photo that cannot be read raises ImageError; among many it yields a result with its
        `error`. Options default to those that the model was saved with.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, decoding, reranking))
        result = next(self.stream([images], decoding, reranking))  # type: ignore[list-item]
        if result.error:
            raise ImageError(result.error)
        return result

    def stream(
        self,
        images: Iterable[ImageSource],
        decoding: DecodingOptions | None = None,
        reranking: RerankingOptions | None = None,
        on_photo: Callable[[], None] | None = None,
    ) -> Iterator[ImageCaptions]:
        """As `caption`, some at a time: a result for each photo, in order, as they are ready.

        Several photos are captioned in threads, one for each processor (`thread_count`), some
        groups ahead. `on_photo` is called for each as its group is done. Raises TypeError for
        a single photo, and options of another kind.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError("stream takes several photos; give a list, or use caption")
        check_kinds(decoding, reranking)
        size = photos_at_once(decoding or self.checkpoint.config.decoding)
        size, stopped = min(max(size, LEAST_GROUP), LARGEST_GROUP), Event()

        def captioned(group: Sequence[ImageSource]) -> list[ImageCaptions]:
            return self._caption_group(group, decoding, reranking, stopped)

        for results in in_threads(groups_of(images, size, thread_count()), captioned, stopped):
            if on_photo:
                for _ in results:
                    on_photo()
            yield from results

    def describe(
        self,
        features: Float[np.ndarray, "N F"],
        decoding: DecodingOptions | None = None,
        reranking: RerankingOptions | None = None,
        *,
        keys: Sequence[int] | None = None,
    ) -> list[tuple[Caption, ...]]:
        """Captions of photos by their features.

        `keys`, a number a photo, seed sampled captions; by default the features do. Raises
        OptionsError for a word in the options that the model does not know, DataError for features
        that are not its encoder's.
        """
        checkpoint = self.checkpoint
        _check_features(features, checkpoint.encoder)
        decoding = decoding or checkpoint.config.decoding
        reranking = self.applied(decoding, reranking)
        constraints = Constraints.of(decoding, checkpoint.vocabulary)
        if keys is None:
            keys = [crc32(feature.tobytes()) for feature in features]
        return self._search.captions(features, decoding, reranking, constraints, keys)

    @property
    def has_confidence(self) -> bool:
        """Whether its captions have a confidence."""
        heads = self.checkpoint.heads
        return heads is not None and heads.confidence is not None

    def tags(self, features: Float[np.ndarray, "N F"]) -> list[tuple[Tag, ...]]:
        """What the encoder's own classes see in each photo; nothing where it has no classes."""
        tagger = self.checkpoint.tagger
        return [()] * len(features) if tagger is None else tagger.tags(features)

    def confidence(
        self, captions: Sequence[Caption], features: Float[np.ndarray, "N F"]
    ) -> list[float | None]:
        """How likely people would call a caption of each photo right, 0 to 1.

        It is fitted to captions by the model's own options. Any other caption has one too, as of
        sampling or with forced words, but a less certain one. None for a model without it.
        """
        heads = self.checkpoint.heads
        if heads is None or heads.confidence is None:
            return [None] * len(captions)
        signals = signals_of(heads, self.checkpoint.vocabulary, captions, features)
        return [round(each, 3) for each in heads.confidence.probabilities(signals).tolist()]

    def applied(
        self, decoding: DecodingOptions, reranking: RerankingOptions | None = None
    ) -> RerankingOptions:
        """The options that take effect: reranking needs heads and more than one hypothesis."""
        return self._search.applied(decoding, reranking)

    def ignored(self, decoding: DecodingOptions, reranking: RerankingOptions) -> dict[str, str]:
        """Why a weight is ignored, for each weight that is."""
        return self._search.ignored(decoding, reranking)

    def search_options(
        self, decoding: DecodingOptions, reranking: RerankingOptions
    ) -> DecodingOptions:
        """The same, with `n_best` the number of hypotheses that are reranked."""
        return self._search.options(decoding, reranking)

    def _caption_group(
        self,
        sources: Sequence[ImageSource],
        decoding: DecodingOptions | None,
        reranking: RerankingOptions | None,
        stopped: Event,
    ) -> list[ImageCaptions]:
        photos = encode_photos(self.encoder, sources, stopped)
        if not photos.places or stopped.is_set():
            return photos.results([])
        features = np.stack(photos.features)
        familiarity = self.checkpoint.familiarity.score(features).tolist()
        captions = self.describe(features, decoding, reranking, keys=photos.keys)
        tags = self.tags(features)
        confidence = self.confidence([found[0] for found in captions], features)
        columns = zip(photos.places, captions, tags, familiarity, confidence, strict=True)
        return photos.results(
            [
                ImageCaptions(
                    image=image_name(sources[place]),
                    captions=found,
                    tags=seen,
                    familiarity=round(familiar, 3),
                    confidence=confident,
                )
                for place, found, seen, familiar, confident in columns
            ]
        )


def _check_features(features: Float[np.ndarray, "N F"], encoder: EncoderIdentity) -> None:
    if features.shape[1] != encoder.feature_size:
        raise DataError(
            f"A feature has {features.shape[1]:,} values, but the model takes "
            f"{encoder.feature_size:,}; give features of {encoder.name}"
        )
    if not np.isfinite(features).all():
        raise DataError(
            f"A feature has values that are not finite; give features of {encoder.name}"
        )


def check_kinds(decoding: object, reranking: object) -> None:
    """Raises TypeError for what are no options."""
    for name, options, kind in (
        ("decoding", decoding, DecodingOptions),
        ("reranking", reranking, RerankingOptions),
    ):
        if not isinstance(options, kind | None):
            raise TypeError(f"{name}: expected {kind.__name__}, not {type(options).__name__}")
