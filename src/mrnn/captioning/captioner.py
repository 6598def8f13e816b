"""The facade: photos in, captions out. The command line and the evaluation use it too.

Letters: N images, F image feature.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mrnn.captioning.consensus import Consensus
from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.captioning.hypotheses import Hypothesis
from mrnn.captioning.results import Caption, ImageCaptions, Word
from mrnn.data.images import ImageSource, load_image
from mrnn.encoders import Encoder, load_encoder
from mrnn.errors import CheckpointError, ImageError, MRNNError
from mrnn.files import utf8
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.model.config import DecodingOptions
from mrnn.retrieval.ranking import Ranker
from mrnn.tokenizer import join_words

BATCH = 16
UNJUDGED = "left out, as the model has not learned to rank; run mrnn train-ranking"
NO_CHOICE = "left out: it chooses from a beam of two or more, not from groups or what chance drew"
DECIMALS = 4
"""Of log-probabilities and of how captions fit: what follows changes with the photos at hand."""


class Captioner:
    """A trained model and its encoder, ready to caption."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        encoder: Encoder | None = None,
        consensus: Consensus | None = None,
        ranker: Ranker | None = None,
    ) -> None:
        """Without an encoder it captions features alone; a ranker says how well captions fit."""
        if encoder and encoder.identity != checkpoint.encoder:
            raise CheckpointError(
                f"The model was trained on {checkpoint.encoder}, "
                f"but the encoder here is {encoder.identity}; give the weights it was trained on, "
                "by --weights FILE"
            )
        self.checkpoint, self._encoder, self.consensus = checkpoint, encoder, consensus
        self.ranker = ranker

    @classmethod
    def load(
        cls,
        model: str | Path = DEFAULT_MODEL,
        consensus: str | Path | None = None,
        *,
        weights: str | Path | None = None,
    ) -> "Captioner":
        """The model in a run's folder, or the one that ships in the package.

        With `consensus` captions are re-ranked: by each other for "self", or by the captions of
        similar photos in the train split of a dataset folder. `weights` is the weights file of the
        model's encoder, if that does not come with the package.
        """
        loaded = cls.for_features(model, consensus)
        encoder = loaded.checkpoint.encoder
        if encoder.fit is None:
            return loaded
        file = Path(weights) if weights else None
        own = load_encoder(encoder.name, encoder.fit, weights=file)
        return cls(loaded.checkpoint, own, loaded.consensus, loaded.ranker)

    @classmethod
    def for_features(
        cls, model: str | Path = DEFAULT_MODEL, consensus: str | Path | None = None
    ) -> "Captioner":
        """As `load`, without the encoder: for photos whose features are at hand."""
        checkpoint = Checkpoint.load(Path(model))
        ranker = Ranker.find(Path(model), checkpoint)
        others = None
        if consensus is not None:
            others = Consensus.load(consensus, checkpoint, ranker=ranker)
        return cls(checkpoint, consensus=others, ranker=ranker)

    @property
    def encoder(self) -> Encoder:
        """What makes features of photos. Raises CheckpointError if there is none."""
        if self._encoder is None:
            raise CheckpointError(
                f"There is no encoder for photos: the model takes features of "
                f"{self.checkpoint.encoder}. With those it can be measured, by mrnn evaluate"
            )
        return self._encoder

    @overload
    def caption(  # type: ignore[overload-overlap]  # a path is a sequence, but of no photos
        self, images: ImageSource, options: DecodingOptions | None = None
    ) -> ImageCaptions: ...
    @overload
    def caption(
        self, images: Sequence[ImageSource], options: DecodingOptions | None = None
    ) -> list[ImageCaptions]: ...
    def caption(
        self,
        images: ImageSource | Sequence[ImageSource],
        options: DecodingOptions | None = None,
    ) -> ImageCaptions | list[ImageCaptions]:
        """Captions of one photo or of many: paths, PIL images, arrays (H x W x 3) or bytes.

        One photo that cannot be read raises ImageError; among many it yields a result with its
        `error`. `options` default to those that the model was saved with.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, options))
        result = next(self.stream([images], options))  # type: ignore[list-item]
        if result.error:
            raise ImageError(result.error)
        return result

    def stream(
        self, images: Iterable[ImageSource], options: DecodingOptions | None = None
    ) -> Iterator[ImageCaptions]:
        """As `caption`, a batch at a time: a result for each photo, in order, as they are ready."""
        sources = iter(images)
        while batch := list(islice(sources, BATCH)):
            yield from self._caption_batch(batch, options)

    def describe(
        self,
        features: Float[Tensor, "N F"],
        options: DecodingOptions | None = None,
        *,
        keys: Sequence[int] | None = None,
    ) -> list[tuple[Caption, ...]]:
        """Captions of photos whose features are at hand.

        `keys` tell photos apart when captions are drawn by chance; by default their features do.
        Raises OptionsError for a word in `options` that the model does not know.
        """
        checkpoint = self.checkpoint
        options = self.applied(options or checkpoint.decoding)
        constraints = Constraints.of(options, checkpoint.vocabulary)
        if keys is None:
            keys = [crc32(feature.numpy().tobytes()) for feature in features]
        with torch.inference_mode():
            seen = checkpoint.model.see(features)
        search = self.search_of(options)
        hypotheses = decode(checkpoint.model, seen, search, constraints, keys=keys)
        scores = self._judged(hypotheses, features.numpy(), options)
        if self.consensus is not None:
            return self._ranked(self.consensus, hypotheses, features.numpy(), scores, options)
        if scores is not None:
            hypotheses = list(map(_by_score, hypotheses, scores))
        return [tuple(map(self._caption, found[: options.n_best])) for found in hypotheses]

    def applied(self, options: DecodingOptions) -> DecodingOptions:
        """The options as they count: what fits takes a ranker, and a search that has a choice."""
        choice = self.consensus is not None or max(options.beam_size, options.n_best) > 1
        if self.ranker and options.searches and choice:
            return options
        return options.by_likelihood

    def left_out(self, options: DecodingOptions) -> dict[str, str]:
        """Why what fits does not count, for each weight that is given in vain."""
        idle = options.fit_weights.keys() - self.applied(options).fit_weights.keys()
        return dict.fromkeys(sorted(idle, reverse=True), NO_CHOICE if self.ranker else UNJUDGED)

    def search_of(self, options: DecodingOptions) -> DecodingOptions:
        """With as many hypotheses as are put in order, of options as they count."""
        counts = [options.n_best]
        if self.consensus is not None:
            counts.append(self.consensus.options.hypotheses)
        if not options.temperature and (self.consensus is not None or options.fit_weights):
            counts.append(options.beam_size)
        return options.model_copy(update={"n_best": max(counts)})

    def _judged(
        self,
        hypotheses: Sequence[Sequence[Hypothesis]],
        features: Float[np.ndarray, "N F"],
        options: DecodingOptions,
    ) -> list[Float[np.ndarray, " _"]] | None:
        """What likelihood and fit together say of hypotheses; None where fit does not count."""
        if self.ranker is None or not options.fit_weights:
            return None
        share = self.consensus.options.share if self.consensus else 1.0
        judges = {
            "likeness": (1.0, self.ranker.likeness),
            "expected_cider": (share, self.ranker.expected_cider),
        }
        words = [[hypothesis.words for hypothesis in found] for found in hypotheses]
        scores = [np.array([share * each.score for each in found]) for found in hypotheses]
        for name, weight in options.fit_weights.items():
            counts, judge = judges[name]
            for score, fit in zip(scores, judge(words, features), strict=True):
                score += counts * weight * fit.round(DECIMALS)
        return scores

    def _ranked(
        self,
        consensus: Consensus,
        hypotheses: Sequence[Sequence[Hypothesis]],
        features: Float[np.ndarray, "N F"],
        judged: Sequence[Float[np.ndarray, " _"]] | None,
        options: DecodingOptions,
    ) -> list[tuple[Caption, ...]]:
        """The best of each photo by consensus."""
        decode_words = self.checkpoint.vocabulary.decode
        words = [[decode_words(each.words) for each in found] for found in hypotheses]
        return [
            tuple(
                self._caption(found[place.rank_before - 1]).model_copy(update={"consensus": place})
                for place in standings[: options.n_best]
            )
            for found, standings in zip(
                hypotheses, consensus.rank(words, features, judged), strict=True
            )
        ]

    def _caption_batch(
        self, sources: Sequence[ImageSource], options: DecodingOptions | None
    ) -> Iterator[ImageCaptions]:
        encoder = self.encoder
        results: dict[int, ImageCaptions] = {}
        pixels = []
        for place, source in enumerate(sources):
            try:
                photo = load_image(source, least_side=encoder.identity.least_side)
                pixels.append((place, encoder.preprocess(photo)))
            except MRNNError as error:
                results[place] = ImageCaptions(image=image_name(source), error=str(error))
        if pixels:
            features = torch.from_numpy(encoder.encode(np.stack([p for _, p in pixels])))
            familiarity = self.checkpoint.familiarity.score(features).tolist()
            # Pixels, not features: these can differ in the last bit with the batch.
            keys = [crc32(p.tobytes()) for _, p in pixels]
            captions = self.describe(features, options, keys=keys)
            for (place, _), found, familiar in zip(pixels, captions, familiarity, strict=True):
                results[place] = ImageCaptions(
                    image=image_name(sources[place]),
                    captions=found,
                    familiarity=round(familiar, 3),
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


def _by_score(found: Sequence[Hypothesis], scores: Float[np.ndarray, " _"]) -> list[Hypothesis]:
    """By falling score; of equals, the earlier stays before the later."""
    return [found[place] for place in np.argsort(-scores, kind="stable")]


def image_name(source: ImageSource) -> str:
    """What a result calls its photo: the path, fit for UTF-8, or what kind of object it was."""
    if isinstance(source, str | Path):
        return utf8(str(source))
    return f"<{type(source).__name__}>"
