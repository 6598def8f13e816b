"""Find photos for a sentence, sentences for a photo, and photos like a photo, in an index.

The product of all vectors with the query's finds candidates; the network's exact likelihood and
the similarity together put them in order (see `ranking.py`). Words of a sentence that the model
does not know, but that name a tag, find photos by the probability of that tag.

Letters: W rows of the index, C candidates, F image feature, D joint embedding.
"""

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.data.feature_store import damaged
from mrnn.data.images import ImageSource, load_image
from mrnn.errors import CheckpointError, DataError, OptionsError, printable
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.image_encoder import encode_finite
from mrnn.model.tags import Tagger
from mrnn.retrieval.index import MEND, Index, IndexChanges, RetrievalModel, open_index
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.nearest import largest
from mrnn.shapes import Float32, Float64, Int
from mrnn.tokenizer import tokenize

CANDIDATES = 50
"""Rows whose likelihood is computed; the others follow by similarity."""
MAX_WORDS = 100
"""Most words of a query."""
LONGEST_NAME = 4
"""Most words of a tag's name that are looked for."""

Query = str | Path | ImageSource
"""A sentence is a plain string; anything else is a photo, a `Path` to one included."""


class SearchResult(BaseModel):
    """One find."""

    model_config = ConfigDict(frozen=True)

    rank: int
    """From 1."""
    path: str | None = None
    sentence: str | None = None
    score: float
    """Compares finds of one query: nats, or for photos like a photo the cosine."""


class PhotoIndex:
    """Photos or sentences to search; an update of its files does not disturb it."""

    def __init__(
        self, index: Index, model: RetrievalModel, changes: IndexChanges | None = None
    ) -> None:
        self._index, self._model = index, model
        self.changes = changes
        """What `build` or `build_sentences` changed; None for an index that was loaded."""

    @classmethod
    def build(
        cls,
        photos: Iterable[str | Path],
        folder: str | Path,
        model: str | Path = DEFAULT_MODEL,
        *,
        encoder_file: str | Path | None = None,
        on_photo: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "PhotoIndex":
        """Make or update an index of exactly these photos.

        `on_problem` gets a line for each photo that cannot be encoded; it is left
        out. `encoder_file` is the
        model's encoder, if that does not ship with the package. Raises DataError if no photo is
        left, or the folder holds something else or cannot be written; CheckpointError for the
        model.
        """
        from mrnn.retrieval.index_writer import index_photos  # what searches needs none of it

        loaded = RetrievalModel.load(Path(model), encoder_file)
        changes = index_photos(photos, Path(folder), loaded, on_photo, on_problem)
        return cls(open_index(Path(folder)), loaded, changes)

    @classmethod
    def build_sentences(
        cls,
        sentences: Iterable[str],
        folder: str | Path,
        model: str | Path = DEFAULT_MODEL,
        *,
        encoder_file: str | Path | None = None,
        on_sentence: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "PhotoIndex":
        """Make or update an index of exactly these sentences.

        log P(sentence) of new ones is computed here. `on_problem` gets a line for each sentence
        without a known word; it is left out. Raises as `build`.
        """
        from mrnn.retrieval.index_writer import index_sentences

        loaded = RetrievalModel.load(Path(model), encoder_file)
        changes = index_sentences(sentences, Path(folder), loaded, on_sentence, on_problem)
        return cls(open_index(Path(folder)), loaded, changes)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        *,
        encoder_file: str | Path | None = None,
    ) -> "PhotoIndex":
        """Open an index with the model that made it; `model` is its folder, if it has moved.

        Where its folder is gone, the model that ships is tried. Raises DataError for the index, and
        CheckpointError if the model is another than the index was made with.
        """
        index = open_index(Path(folder))
        made = index.config
        run = Path(model or made.run)
        gone = model is None and not run.is_dir()
        loaded = RetrievalModel.load(DEFAULT_MODEL if gone else run, encoder_file)
        now = loaded.config(made.holds)
        if (made.model, made.heads, made.encoder) != (now.model, now.heads, now.encoder):
            mend = f"say by --model where {run} is now, or {MEND}" if gone else MEND
            run = loaded.checkpoint.folder
            raise CheckpointError(
                f"{folder} was made with another model than {run} holds now; {mend}"
            )
        if made.columns != now.columns:
            raise DataError(f"{folder} has other columns than its model; remove it, then {MEND}")
        return cls(index, loaded)

    def __len__(self) -> int:
        return len(self._index)

    def unknown_words(self, sentence: str) -> list[str]:
        """Words of a query that the model does not know; they are left out of the search."""
        vocabulary = self._model.checkpoint.vocabulary
        return list(dict.fromkeys(word for word in tokenize(sentence) if word not in vocabulary))

    def names_of_tags(self, sentence: str) -> list[str]:
        """Words and phrases of a query that find photos by tags: each has an unknown word."""
        unknown = set(self.unknown_words(sentence))
        tagger = self._tagger if unknown else None
        if tagger is None:
            return []
        found, words = [], tokenize(sentence)
        while words:
            names = (words[:length] for length in range(LONGEST_NAME, 0, -1))
            named = (name for name in names if unknown & set(name) and tagger.find(" ".join(name)))
            name = next(named, [])
            if name:
                found.append(" ".join(name))
            words = words[len(name) or 1 :]
        return list(dict.fromkeys(found))

    @property
    def _tagger(self) -> Tagger | None:
        """None for sentences, which have no features."""
        holds_photos = self._index.config.holds == "photos"
        return self._model.checkpoint.tagger if holds_photos else None

    @overload
    def search(  # type: ignore[overload-overlap]  # a string is a sequence, but of no queries
        self, queries: Query, top: int = 10, *, paths: str | None = None
    ) -> list[SearchResult]: ...
    @overload
    def search(
        self, queries: Sequence[Query], top: int = 10, *, paths: str | None = None
    ) -> list[list[SearchResult]]: ...
    def search(
        self, queries: Query | Sequence[Query], top: int = 10, *, paths: str | None = None
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """The best `top` finds, best first, for one query or for each of a list; ties by index.

        With `paths`, a pattern such as "*/2024/*" or "holiday/*", only photos whose path, from the
        root or from the working folder, matches it. Raises OptionsError for a query without known
        words or a `top` below 1, ImageError for a photo that cannot be read, DataError for a
        damaged index.
        """
        if top < 1:
            raise OptionsError(f"top is {top}; ask for one find at least")
        if not isinstance(queries, list | tuple):
            return self.search([queries], top, paths=paths)[0]  # type: ignore[list-item]
        asked = [self._prepare(query) for query in queries]
        rows = np.flatnonzero(self._index.kept) if paths is None else self._matching(paths)
        return [self._ranked(query, rows, top) for query in asked]

    def _prepare(self, query: Query) -> "_Asked":
        heads = self._model.heads
        if isinstance(query, str):
            tags = self.names_of_tags(query)
            words = self._known_words(query, tags)
            return _Asked(heads.embed_text([words])[0] if words else None, words, None, tags)
        encoder = self._model.encoder
        photo = load_image(query, least_side=encoder.identity.least_side)
        name = printable(query) if isinstance(query, Path) else "the photo"
        feature = encode_finite(encoder, encoder.preprocess(photo), name)[None]
        return _Asked(heads.embed_image(feature)[0], None, feature, [])

    def _known_words(self, query: str, tags: Sequence[str]) -> list[int]:
        """Those that do not belong to the name of a tag."""
        words = tokenize(query)
        if not words:
            raise OptionsError("The query is empty; give a sentence, or the path of a photo")
        if len(words) > MAX_WORDS:
            raise OptionsError(
                f"The query has {len(words):,} words; {MAX_WORDS} are the most that can be asked"
            )
        unknown = self.unknown_words(query)
        named = {word for name in tags for word in name.split()}
        known = [word for word in words if word not in named.union(unknown)]
        if not (known or tags):
            listed = ", ".join(map(repr, unknown[:5]))
            raise OptionsError(f"The model knows no word of the query ({listed}); try others")
        return self._model.checkpoint.vocabulary.encode(known)

    def _matching(self, paths: str) -> Int[np.ndarray, " C"]:
        """The rows whose paths match a pattern."""
        if self._index.config.holds != "photos":
            raise OptionsError("Sentences have no paths to choose by; leave out the pattern")
        pattern = paths
        if not (paths.startswith("*") or os.path.isabs(paths)):
            pattern = os.path.normpath(os.path.join(glob.escape(os.getcwd()), paths))
        matches = re.compile(fnmatch.translate(pattern)).match
        rows = [row for row, name in self._index.names() if matches(name)]
        if not rows:
            raise OptionsError(f"No photo of the index has a path like {paths!r:.100}")
        return np.array(rows)

    def _ranked(self, query: "_Asked", rows: Int[np.ndarray, " C"], top: int) -> list[SearchResult]:
        """The best of these rows."""
        if not len(rows):
            return []
        holds = self._index.config.holds
        crossed = (query.feature is None) == (holds == "photos")
        similarity = self._similarity(query, hubness=crossed and holds == "sentences")[rows]
        nats, first = np.zeros(len(rows)), similarity  # a cosine, 1 at most
        if query.tags:
            nats = self._nats_of_tags(query.tags)[rows]
            first = similarity * self._model.heads.weights.sentence_to_image
            if first.any() and nats.std() > 0:
                nats = nats * (first.std() / nats.std())  # tags count as much as the other words
            first = first + nats
        best = largest(first, max(top, CANDIDATES))
        rows, scores = rows[best], first[best]
        if crossed and query.vector is not None:
            candidates = best[:CANDIDATES]
            cosines = similarity[candidates].astype(np.float64)
            both = self._likelihoods(query, rows[:CANDIDATES], cosines) + nats[candidates]
            above = scores.max() if query.tags else 0
            scores = np.concatenate([both, both.min() - 3 + scores[CANDIDATES:] - above])
        order = np.argsort(-scores, kind="stable")[:top]
        name = "path" if holds == "photos" else "sentence"
        return [
            SearchResult(
                rank=rank,
                score=round(float(scores[place]), 4),
                **{name: self._index.name(int(rows[place]))},
            )
            for rank, place in enumerate(order, start=1)
        ]

    def _similarity(self, query: "_Asked", *, hubness: bool) -> Float32[np.ndarray, " W"]:
        """The similarity of all rows with the query, less the hubness correction if `hubness`.

        Raises DataError if one is not finite.
        """
        if query.vector is None:
            return np.zeros(len(self._index.kept), np.float32)
        found = []
        for shard in self._index.shards:
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
        tagger, found = self._tagger, []
        assert tagger is not None
        for shard in self._index.shards:
            features = shard.arrays["features"]
            nats = np.sum([np.log(tagger.score(name, features)) for name in names], axis=0)
            if not np.isfinite(nats).all():
                raise damaged(shard.file, "a feature is not finite", MEND)
            found.append(nats)
        return np.concatenate(found).astype(np.float64)

    def _likelihoods(
        self,
        query: "_Asked",
        rows: Int[np.ndarray, " C"],
        similarity: Float64[np.ndarray, " C"],
    ) -> Float64[np.ndarray, " C"]:
        """The sum of log-likelihood and weighted similarity, for these rows."""
        network, weights = self._model.checkpoint.network, self._model.heads.weights
        if query.words is not None:
            features = self._index.take("features", rows)
            likelihoods = log_likelihoods(network, [query.words], features)[0]
            return np.asarray(weights.sentence_to_image * similarity + likelihoods)
        assert query.feature is not None
        ids = [self._model.token_ids(self._index.name(row)) for row in rows.tolist()]
        marginals = self._index.take("marginals", rows)[:, 0]
        likelihoods = log_likelihoods(network, ids, query.feature)[:, 0] - marginals
        return np.asarray(weights.image_to_sentence * similarity + likelihoods)


@dataclass(frozen=True)
class _Asked:
    """A query: its vector, its words or its feature, and the names of tags in it."""

    vector: Float32[np.ndarray, " D"] | None
    """None of a sentence that only names tags."""
    words: list[int] | None
    feature: Float32[np.ndarray, "1 F"] | None
    tags: Sequence[str]
