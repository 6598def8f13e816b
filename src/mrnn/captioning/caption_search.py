"""Features in, captions out: search, then reranking.

Letters: N photos, F image feature, M multimodal.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from mrnn.captioning.constraints import Constraints
from mrnn.captioning.decode import decode
from mrnn.captioning.hypotheses import Hypothesis
from mrnn.captioning.reranking import DECIMALS, best_first, reranking_scores
from mrnn.captioning.rescoring import rescore
from mrnn.captioning.results import Caption, Word
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.network import Int8Search, searches_in_int8
from mrnn.model.threads import in_threads
from mrnn.shapes import Float, Float32
from mrnn.tokenizer import join_words

if TYPE_CHECKING:
    from mrnn.captioning.consensus import Consensus

ROWS = 200
"""Hypotheses that go through the network together; with small beams, of several photos."""
RESCORED = 10
"""Hypotheses of a photo, at least, whose exact log-probabilities decide between them."""
NO_HEADS = "ignored: this model has no heads; run mrnn train-heads"
NO_CHOICE = "ignored: reranking needs plain beam search with at least two hypotheses"


class CaptionSearch:
    """A trained model, and consensus if it reranks."""

    def __init__(self, checkpoint: Checkpoint, consensus: "Consensus | None") -> None:
        self.checkpoint, self.consensus = checkpoint, consensus

    def captions(
        self,
        features: Float[np.ndarray, "N F"],
        decoding: DecodingOptions,
        reranking: RerankingOptions,
        constraints: Constraints,
        keys: Sequence[int],
    ) -> list[tuple[Caption, ...]]:
        """The `n_best` captions of each photo; `keys` seed sampled ones."""
        images = self.checkpoint.network.encode_image(features)
        size = photos_at_once(decoding)
        parts = [slice(start, start + size) for start in range(0, len(images), size)]

        def search(part: slice) -> list[list[Hypothesis]]:
            return self._search(images[part], decoding, reranking, constraints, keys[part])

        found = list(chain.from_iterable(in_threads(parts, search)))
        return self._ranked(found, images, features, decoding, reranking)

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

    def options(self, decoding: DecodingOptions, reranking: RerankingOptions) -> DecodingOptions:
        """The same, with `n_best` the number of hypotheses that are reranked."""
        counts = [decoding.n_best]
        if self.consensus is not None:
            counts.append(self.consensus.options.hypotheses)
        if not decoding.temperature and (self.consensus is not None or reranking.weights):
            counts.append(decoding.beam_size)
        return decoding.model_copy(update={"n_best": max(counts)})

    def _is_int8(self, reranking: RerankingOptions) -> bool:
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
        model = Int8Search(network) if self._is_int8(reranking) else network
        options = self.options(decoding, reranking)
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
            if self._is_int8(reranking):
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


def photos_at_once(decoding: DecodingOptions) -> int:
    """Photos per batch: about `ROWS` hypotheses go through the network together."""
    if decoding.temperature:
        return max(1, ROWS // decoding.n_best)
    banks = len(decoding.force_words) + 1
    return max(1, ROWS // (decoding.group_size * decoding.beam_groups * banks))
