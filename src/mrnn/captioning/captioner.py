"""Photos in, captions out; also used by the command line and the evaluation.

Letters: N photos, F image feature, M multimodal.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, overload
from zlib import crc32

import numpy as np

from mrnn.captioning.confidence import signals_of
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.captioning.hypotheses import Hypothesis
from mrnn.captioning.reranking import DECIMALS, best_first, reranking_scores
from mrnn.captioning.rescoring import rescore
from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.data.images import ImageSource, NamedImage, load_image
from mrnn.data.photo_names import name_as_text
from mrnn.errors import CheckpointError, DataError, ImageError, MRNNError, OptionsError, printable
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.model.config import DecodingOptions, EncoderIdentity, RerankingOptions
from mrnn.model.image_encoder import ImageEncoder, encode_finite
from mrnn.model.network import Int8Search, searches_in_int8
from mrnn.model.tags import Tag
from mrnn.shapes import Float, Float32
from mrnn.tokenizer import join_words

if TYPE_CHECKING:
    from mrnn.captioning.consensus import Consensus, ConsensusOptions

ROWS = 200
"""Hypotheses that go through the network together; with small beams, of several photos."""
LEAST_BATCH, LARGEST_BATCH = 16, 64
"""Photos that are captioned together."""
RESCORED = 10
"""Hypotheses of a photo, at least, whose exact log-probabilities decide between them."""
NO_HEADS = "ignored: this model has no heads; run mrnn train-heads"
NO_CHOICE = "ignored: reranking needs plain beam search with at least two hypotheses"


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
            raise CheckpointError(
                f"There is no encoder for photos: the model takes features of "
                f"{self.checkpoint.encoder}. With those it can be measured, by mrnn evaluate"
            )
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
        """As `caption`, a batch at a time: a result for each photo, in order, as they are ready.

        `on_photo` is called as each is encoded, which takes most of its time. Raises TypeError for
        a single photo, and options of another kind.
        """
        if isinstance(images, str | bytes | os.PathLike):
            raise TypeError("stream takes several photos; give a list, or use caption")
        check_kinds(decoding, reranking)
        sources = iter(images)
        size = photos_at_once(decoding or self.checkpoint.config.decoding)
        batch_size = min(max(size, LEAST_BATCH), LARGEST_BATCH)
        while batch := list(islice(sources, batch_size)):
            yield from self._caption_batch(batch, decoding, reranking, on_photo)

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
        images = checkpoint.network.encode_image(features)
        described = []
        size = photos_at_once(decoding)
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            found = self._search(images[part], decoding, reranking, constraints, keys[part])
            described += found
        return self._ranked(described, images, features, decoding, reranking)

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
        reranking = reranking or self.checkpoint.config.reranking
        choice = self.consensus is not None or max(decoding.beam_size, decoding.n_best) > 1
        if decoding.is_beam_search and choice and reranking.weights and self.checkpoint.heads:
            return reranking
        return RerankingOptions()

    def ignored(self, decoding: DecodingOptions, reranking: RerankingOptions) -> dict[str, str]:
        """Why a weight is ignored, for each weight that is."""
        idle = reranking.weights.keys() - self.applied(decoding, reranking).weights.keys()
        why = NO_CHOICE if self.checkpoint.heads else NO_HEADS
        return dict.fromkeys(sorted(idle, reverse=True), why)

    def search_options(
        self, decoding: DecodingOptions, reranking: RerankingOptions
    ) -> DecodingOptions:
        """The same, with `n_best` the number of hypotheses that are reranked."""
        counts = [decoding.n_best]
        if self.consensus is not None:
            counts.append(self.consensus.options.hypotheses)
        if not decoding.temperature and (self.consensus is not None or reranking.weights):
            counts.append(decoding.beam_size)
        return decoding.model_copy(update={"n_best": max(counts)})

    def _search_is_int8(self, reranking: RerankingOptions) -> bool:
        """Whether the search may be int8: exact scores then rerank its hypotheses."""
        return (
            self.consensus is None
            and bool(reranking.weights)
            and searches_in_int8(self.checkpoint.config.model)
        )

    def _search(
        self,
        images: Float32[np.ndarray, "N M"],
        decoding: DecodingOptions,
        reranking: RerankingOptions,
        constraints: Constraints,
        keys: Sequence[int],
    ) -> list[list[Hypothesis]]:
        network = self.checkpoint.network
        model = Int8Search(network) if self._search_is_int8(reranking) else network
        options = self.search_options(decoding, reranking)
        return decode(model, images, options, constraints, keys=keys)

    def _ranked(
        self,
        hypotheses: list[list[Hypothesis]],
        images: Float32[np.ndarray, "N M"],
        features: Float[np.ndarray, "N F"],
        decoding: DecodingOptions,
        reranking: RerankingOptions,
    ) -> list[tuple[Caption, ...]]:
        """The `n_best` captions of each photo."""
        heads, count = self.checkpoint.heads, decoding.n_best
        if self.consensus is not None:
            return self._ranked_by_consensus(self.consensus, hypotheses, features, count, reranking)
        if heads is not None and reranking.weights:
            scores = reranking_scores(heads, hypotheses, features, reranking)
            hypotheses = list(map(best_first, hypotheses, scores))
            if self._search_is_int8(reranking):
                best = [found[: max(RESCORED, count)] for found in hypotheses]
                network, penalty = self.checkpoint.network, decoding.length_penalty
                hypotheses = rescore(network, images, best, penalty)
                scores = reranking_scores(heads, hypotheses, features, reranking)
                hypotheses = list(map(best_first, hypotheses, scores))
        return [tuple(map(self._caption, found[:count])) for found in hypotheses]

    def _ranked_by_consensus(
        self,
        consensus: "Consensus",
        hypotheses: list[list[Hypothesis]],
        features: Float[np.ndarray, "N F"],
        count: int,
        reranking: RerankingOptions,
    ) -> list[tuple[Caption, ...]]:
        scores, heads = None, self.checkpoint.heads
        if heads is not None and reranking.weights:
            weight = consensus.options.model_weight
            reranking = reranking.model_copy(
                update={"predicted_cider_weight": weight * reranking.predicted_cider_weight}
            )
            scores = reranking_scores(
                heads, hypotheses, features, reranking, likelihood_weight=weight
            )
        decode_words = self.checkpoint.vocabulary.decode
        words = [[decode_words(each.words) for each in found] for found in hypotheses]
        return [
            tuple(
                self._caption(found[place.rank_before - 1]).model_copy(update={"consensus": place})
                for place in results[:count]
            )
            for found, results in zip(
                hypotheses, consensus.rank(words, features, scores), strict=True
            )
        ]

    def _caption_batch(
        self,
        sources: Sequence[ImageSource],
        decoding: DecodingOptions | None,
        reranking: RerankingOptions | None,
        on_photo: Callable[[], None] | None,
    ) -> Iterator[ImageCaptions]:
        encoder = self.encoder
        results: dict[int, ImageCaptions] = {}
        places, keys, features = [], [], []
        for place, source in enumerate(sources):
            try:
                photo = load_image(source, least_side=encoder.identity.least_side)
                pixels = encoder.preprocess(photo)
                feature = encode_finite(encoder, pixels, printable(image_name(source)))
            except MRNNError as error:
                results[place] = ImageCaptions(image=image_name(source), error=str(error))
            else:
                places.append(place)
                keys.append(crc32(b"".join(crops.tobytes() for crops in pixels)))
                features.append(feature)
            if on_photo:
                on_photo()
        if places:
            matrix = np.stack(features)
            familiarity = self.checkpoint.familiarity.score(matrix).tolist()
            captions = self.describe(matrix, decoding, reranking, keys=keys)
            tags = self.tags(matrix)
            confidence = self.confidence([found[0] for found in captions], matrix)
            columns = zip(places, captions, tags, familiarity, confidence, strict=True)
            for place, found, seen, familiar, confident in columns:
                results[place] = ImageCaptions(
                    image=image_name(sources[place]),
                    captions=found,
                    tags=seen,
                    familiarity=round(familiar, 3),
                    confidence=confident,
                )
        for place in range(len(sources)):
            yield results[place]

    def _caption(self, hypothesis: Hypothesis) -> Caption:
        words = self.checkpoint.vocabulary.decode(hypothesis.words)
        pairs = zip(words, hypothesis.word_log_probabilities, strict=False)
        return Caption(
            text=join_words(words),
            log_probability=round(hypothesis.log_probability, DECIMALS),
            words=tuple(
                Word(word=word, log_probability=round(value, DECIMALS)) for word, value in pairs
            ),
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


def photos_at_once(decoding: DecodingOptions) -> int:
    """Photos per batch: about `ROWS` hypotheses go through the network together."""
    if decoding.temperature:
        return max(1, ROWS // decoding.n_best)
    banks = len(decoding.force_words) + 1
    return max(1, ROWS // (decoding.group_size * decoding.beam_groups * banks))


def image_name(source: ImageSource) -> str:
    """The name of a photo in its result: as valid UTF-8 its path or name, or the object's type."""
    if isinstance(source, NamedImage):
        return name_as_text(source.name)
    if isinstance(source, str | Path):
        return name_as_text(str(source))
    return f"<{type(source).__name__}>"


def check_kinds(decoding: object, reranking: object) -> None:
    """Raises TypeError for what are no options."""
    for name, options, kind in (
        ("decoding", decoding, DecodingOptions),
        ("reranking", reranking, RerankingOptions),
    ):
        if not isinstance(options, kind | None):
            raise TypeError(f"{name}: expected {kind.__name__}, not {type(options).__name__}")
