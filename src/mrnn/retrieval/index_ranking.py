"""The rows of an index in the order in which they suit a query.

The product of all vectors with the query's finds candidates; the network's exact likelihood and
the similarity together put them in order (see `ranking.py`). Words of a sentence that the model
does not know, but that name a tag, find photos by the probability of that tag.

Letters: W rows of the index, C candidates, D joint embedding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrnn.data.feature_store.store import damaged
from mrnn.model.tags import Tagger
from mrnn.retrieval.index import MEND, Index, RetrievalModel
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.nearest import largest
from mrnn.retrieval.query import PreparedQuery
from mrnn.shapes import Float32, Float64, Int

CANDIDATES = 50
"""Rows whose likelihood is computed; the others follow by similarity."""


@dataclass(frozen=True)
class IndexRanking:
    """An index with what puts its rows in order; methods raise DataError for a damaged one."""

    index: Index
    model: RetrievalModel
    tagger: Tagger | None

    def in_order(
        self, query: PreparedQuery, rows: Int[np.ndarray, " C"], at_once: int
    ) -> Iterator[tuple[int, float]]:
        """Rows with their scores, best first; more are put in order when they are asked for."""
        holds = self.index.config.holds
        crossed = (query.feature is None) == (holds == "photos")
        similarity = self._similarity(query, hubness=crossed and holds == "sentences")[rows]
        nats, first = np.zeros(len(rows)), similarity  # a cosine, 1 at most
        if query.tags:
            nats = self._nats_of_tags(query.tags)[rows]
            first = similarity * self.model.heads.weights.sentence_to_image
            if first.any() and nats.std() > 0:
                nats = nats * (first.std() / nats.std())  # tags count as much as the other words
            first = first + nats
        done, shift = 0, 0.0
        if len(rows) and crossed and query.vector is not None:
            best = largest(first, CANDIDATES)
            cosines = similarity[best].astype(np.float64)
            both = self._likelihoods(query, rows[best], cosines) + nats[best]
            for place in np.argsort(-both, kind="stable").tolist():
                yield int(rows[best[place]]), float(both[place])
            done = len(best)
            shift = both.min() - 3 - (first.max() if query.tags else 0)  # the others come after
        while done < len(rows):
            best = largest(first, done + at_once)
            for place in best[done:].tolist():
                yield int(rows[place]), float(first[place] + shift)
            done, at_once = len(best), 4 * at_once

    def _similarity(self, query: PreparedQuery, *, hubness: bool) -> Float32[np.ndarray, " W"]:
        """The similarity of all rows with the query, less the hubness correction if `hubness`.

        Raises DataError if one is not finite.
        """
        if query.vector is None:
            return np.zeros(len(self.index.kept), np.float32)
        found = []
        for shard in self.index.shards:
            similarity = shard.arrays["vectors"] @ query.vector
            if hubness:
                similarity = similarity - shard.arrays["hubness"][:, 0]
            if not np.isfinite(similarity).all():
                raise damaged(shard.file, "a vector is not finite", MEND)
            found.append(similarity)
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def _nats_of_tags(self, names: Sequence[str]) -> Float64[np.ndarray, " W"]:
        """The log-probability of these tags together, of all rows.

        Raises DataError if one is not finite.
        """
        assert self.tagger is not None
        found = []
        for shard in self.index.shards:
            features = shard.arrays["features"]
            nats = np.sum([np.log(self.tagger.score(name, features)) for name in names], axis=0)
            if not np.isfinite(nats).all():
                raise damaged(shard.file, "a feature is not finite", MEND)
            found.append(nats)
        return np.concatenate(found).astype(np.float64)

    def _likelihoods(
        self,
        query: PreparedQuery,
        rows: Int[np.ndarray, " C"],
        similarity: Float64[np.ndarray, " C"],
    ) -> Float64[np.ndarray, " C"]:
        """The sum of log-likelihood and weighted similarity, for these rows."""
        network, weights = self.model.checkpoint.network, self.model.heads.weights
        if query.words is not None:
            features = self.index.take("features", rows)
            likelihoods = log_likelihoods(network, [query.words], features)[0]
            return np.asarray(weights.sentence_to_image * similarity + likelihoods)
        assert query.feature is not None
        ids = [self.model.token_ids(self.index.name(row)) for row in rows.tolist()]
        marginals = self.index.take("marginals", rows)[:, 0]
        likelihoods = log_likelihoods(network, ids, query.feature)[:, 0] - marginals
        return np.asarray(weights.image_to_sentence * similarity + likelihoods)
