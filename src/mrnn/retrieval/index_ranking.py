"""The rows of an index in the order in which they suit a query.

Rows near the query are candidates; the network's exact likelihood and the similarity together put
them in order (see `ranking.py`). Words of a sentence that the model does not know, but that name a
tag, find photos by the probability of that tag.

Letters: W selected rows, C candidates, D joint embedding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mrnn.model.tags import Tagger
from mrnn.retrieval.index.index import Index, RetrievalModel
from mrnn.retrieval.index.selection import Selection
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.nearest import largest
from mrnn.retrieval.query import PreparedQuery
from mrnn.shapes import Float32, Float64, Int

CANDIDATES = 50
"""Rows whose likelihood is computed; the others follow by similarity."""


@dataclass(frozen=True)
class _Ranked:
    """Rows, best first."""

    rows: Int[np.ndarray, " C"]
    first: Float64[np.ndarray, " C"]
    """What they are ordered by."""
    nats: Float64[np.ndarray, " C"]
    """The share of tags."""


_Order = Callable[[int], _Ranked]
"""The best so many rows; all, if there are fewer."""


@dataclass(frozen=True)
class IndexRanking:
    """An index with what puts its rows in order; methods raise DataError for a damaged one."""

    index: Index
    model: RetrievalModel
    tagger: Tagger | None

    def in_order(
        self, query: PreparedQuery, selection: Selection, at_once: int
    ) -> Iterator[tuple[int, float]]:
        """Rows with their scores, best first; more are put in order when they are asked for."""
        holds = self.index.config.holds
        crossed = (query.feature is None) == (holds == "photos")
        hubness = crossed and holds == "sentences"
        order = self._order(query, selection, hubness=hubness)
        seen, shift, count = set[int](), 0.0, at_once
        if crossed and query.vector is not None:
            found = order(CANDIDATES)
            if not len(found.rows):
                return
            cosines = self._similarity(query.vector, found.rows, hubness=hubness)
            both = self._likelihoods(query, found.rows, cosines) + found.nats
            for place in np.argsort(-both, kind="stable").tolist():
                yield int(found.rows[place]), float(both[place])
            if len(found.rows) < CANDIDATES:
                return
            seen.update(found.rows.tolist())
            count += CANDIDATES
            shift = both.min() - 3  # the others come after
            shift -= found.first.max() if query.tags else 0
        while True:
            found = order(count)
            for row, score in zip(found.rows.tolist(), found.first.tolist(), strict=True):
                if row not in seen:
                    seen.add(row)
                    yield row, score + shift
            if len(found.rows) < count:
                return
            count += 4 * len(found.rows)

    def _order(self, query: PreparedQuery, selection: Selection, *, hubness: bool) -> _Order:
        if query.tags:
            return self._by_tags(query, selection)
        vector = query.vector
        assert vector is not None  # of a sentence without known words there are tags
        nearest = selection.nearest(vector, hubness=hubness)

        def by_similarity(count: int) -> _Ranked:
            rows = nearest(count)
            similarity = self._similarity(vector, rows, hubness=hubness)
            order = np.lexsort((rows, -similarity))
            return _Ranked(rows[order], similarity[order], np.zeros(len(rows)))

        return by_similarity

    def _by_tags(self, query: PreparedQuery, selection: Selection) -> _Order:
        """All rows by the log-probabilities of the tags, and by similarity as much."""
        parts = []
        for rows, columns in selection.blocks("features", "vectors"):
            near = np.zeros(len(rows), np.float32)
            if query.vector is not None:
                near = columns["vectors"] @ query.vector
            parts.append((rows, near, self._nats_of_tags(query.tags, columns["features"])))
        rows, similarity, nats = (np.concatenate(each) for each in zip(*parts, strict=True))
        first = similarity * self.model.heads.weights.sentence_to_image
        if first.any() and nats.std() > 0:
            nats = nats * (first.std() / nats.std())  # tags count as much as the other words
        first = first + nats

        def by_tags(count: int) -> _Ranked:
            best = largest(first, count)
            return _Ranked(rows[best], first[best].astype(np.float64), nats[best])

        return by_tags

    def _similarity(
        self, vector: Float32[np.ndarray, " D"], rows: Int[np.ndarray, " C"], *, hubness: bool
    ) -> Float64[np.ndarray, " C"]:
        """Exactly, so that it does not depend on what found the rows."""
        vectors = self.index.take("vectors", rows)
        similarity: np.ndarray = np.einsum("cd,d->c", vectors, vector, dtype=np.float64)
        return similarity - self.index.take("hubness", rows)[:, 0] if hubness else similarity

    def _nats_of_tags(
        self, names: Sequence[str], features: np.ndarray
    ) -> Float64[np.ndarray, " W"]:
        """The log-probability of these tags together."""
        assert self.tagger is not None
        scores = [np.log(self.tagger.score(name, features)) for name in names]
        return np.asarray(np.sum(scores, axis=0, dtype=np.float64))

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
