"""Find photos for a sentence, sentences for a photo, and photos like a photo, in an index.

Candidates come from the joint space by one exact matrix product, or from a graph of near
neighbours where the index was made `approximate`; the best of them are put in order
by the exact likelihood and the joint space together (see `ranking.py`).

Letters: Q queries, W entries of the index, F image feature, D joint space.
"""

import fnmatch
import glob
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrnn.data.images import ImageSource, load_image
from mrnn.errors import CheckpointError, OptionsError
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.retrieval.ann_index import MOST, require_usearch
from mrnn.retrieval.index_folder import IndexFiles, damaged, read_index
from mrnn.retrieval.indexing import RankingModel, index_photos, index_sentences
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.nearest import largest
from mrnn.shapes import Float, Int
from mrnn.tokenizer import tokenize

CANDIDATES = 50
"""For how many the likelihood is worked out; the others follow them by likeness."""
MOST_WORDS = 100
"""Of a query."""

Query = str | Path | ImageSource
"""A sentence is a plain string; anything else is a photo, a `Path` to one included."""


class Result(BaseModel):
    """One find."""

    model_config = ConfigDict(frozen=True)

    rank: int
    """From 1."""
    path: str | None = None
    sentence: str | None = None
    score: float
    """Compares finds of one query: nats, or for photos like a photo the cosine."""


class RetrievalIndex:
    """Photos or sentences that can be searched; its files may be renewed while it is in use."""

    def __init__(self, files: IndexFiles, model: RankingModel) -> None:
        self.files, self._model = files, model

    @classmethod
    def build(
        cls,
        photos: Iterable[str | Path],
        folder: str | Path,
        model: str | Path = DEFAULT_MODEL,
        *,
        approximate: bool = False,
        weights: str | Path | None = None,
        on_photo: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "RetrievalIndex":
        """An index of just these photos. What it holds of them already is not made again.

        A photo that cannot be read is left out and told to `on_problem`. `approximate` adds a graph
        of near neighbours, quicker beyond a million photos; `weights` is the weights file of the
        model's encoder, if that does not come with the package. Raises DataError where no photo is
        left or where the folder holds something else, OptionsError where the graph needs an extra.
        """
        if approximate:
            require_usearch()
        loaded = RankingModel.load(Path(model), weights)
        index_photos(photos, Path(folder), loaded, on_photo, on_problem, approximate=approximate)
        return cls(read_index(Path(folder)), loaded)

    @classmethod
    def build_sentences(
        cls,
        sentences: Iterable[str],
        folder: str | Path,
        model: str | Path = DEFAULT_MODEL,
        *,
        weights: str | Path | None = None,
        on_sentences: Callable[[int], None] = lambda _: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "RetrievalIndex":
        """An index of just these sentences; log P(sentence) of new ones is worked out here.

        One without a word that the model knows is left out and told to `on_problem`.
        """
        loaded = RankingModel.load(Path(model), weights)
        index_sentences(sentences, Path(folder), loaded, on_sentences, on_problem)
        return cls(read_index(Path(folder)), loaded)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        *,
        weights: str | Path | None = None,
    ) -> "RetrievalIndex":
        """An index, with the model that made it, or that of another folder if it is the same.

        Where its folder is gone, the model that ships is tried. Raises CheckpointError if the model
        is another than the index was made with.
        """
        files = read_index(Path(folder))
        run = Path(model or files.config.run)
        gone = model is None and not run.is_dir()
        loaded = RankingModel.load(DEFAULT_MODEL if gone else run, weights)
        now = loaded.config(files.config.holds)
        made = files.config
        if (made.model, made.ranking, made.encoder) != (now.model, now.ranking, now.encoder):
            mend = "run mrnn index again"
            if gone:
                mend = f"say by --model where {run} is now, or {mend}"
            raise CheckpointError(
                f"{folder} was made with another model than {loaded.run} holds now; {mend}"
            )
        widths = files.values.shape[1], files.vectors.shape[1]
        values = 2 if made.holds == "sentences" else made.encoder.feature_size
        if widths != (values, loaded.ranker.space.image.out_features):
            raise damaged(Path(folder), f"rows of {widths[0]} and {widths[1]} numbers")
        return cls(files, loaded)

    def __len__(self) -> int:
        return len(self.files.entries)

    def unknown_words(self, sentence: str) -> list[str]:
        """Words of a query that the model does not know; they are left out of the search."""
        vocabulary = self._model.captioner.checkpoint.vocabulary
        return list(dict.fromkeys(word for word in tokenize(sentence) if word not in vocabulary))

    @overload
    def search(  # type: ignore[overload-overlap]  # a string is a sequence, but of no queries
        self, queries: Query, top: int = 10, *, paths: str | None = None
    ) -> list[Result]: ...
    @overload
    def search(
        self, queries: Sequence[Query], top: int = 10, *, paths: str | None = None
    ) -> list[list[Result]]: ...
    def search(
        self, queries: Query | Sequence[Query], top: int = 10, *, paths: str | None = None
    ) -> list[Result] | list[list[Result]]:
        """The best `top` finds, best first, for one query or for each of a list; ties by index.

        With `paths`, a pattern such as "*/2024/*" or "holiday/*", only photos whose path, from the
        root or from the working folder, matches it. Raises OptionsError for a query without known
        words or a `top` below 1, ImageError for a photo that cannot be read.
        """
        if top < 1:
            raise OptionsError(f"top is {top}; ask for one find at least")
        if not isinstance(queries, list | tuple):
            return self.search([queries], top, paths=paths)[0]  # type: ignore[list-item]
        asked = [self._prepare(query) for query in queries]
        rows = self._rows(paths)
        return [self._rank(query, rows, top) for query in asked]

    def _prepare(self, query: Query) -> "_Asked":
        ranker = self._model.ranker
        if isinstance(query, str):
            words = self._known_words(query)
            return _Asked(ranker.read([words])[0], words, None)
        encoder = self._model.captioner.encoder
        photo = load_image(query, least_side=encoder.identity.least_side)
        feature = encoder.encode(encoder.preprocess(photo)[None])
        return _Asked(ranker.see(feature)[0], None, feature)

    def _known_words(self, query: str) -> list[int]:
        words = tokenize(query)
        if not words:
            raise OptionsError("The query is empty; give a sentence, or the path of a photo")
        if len(words) > MOST_WORDS:
            raise OptionsError(
                f"The query has {len(words):,} words; {MOST_WORDS} are the most that can be asked"
            )
        unknown = self.unknown_words(query)
        known = [word for word in words if word not in unknown]
        if not known:
            listed = ", ".join(map(repr, unknown[:5]))
            raise OptionsError(f"The model knows no word of the query ({listed}); try others")
        return self._model.captioner.checkpoint.vocabulary.encode(known)

    def _rows(self, paths: str | None) -> Int[np.ndarray, " _"] | None:
        if paths is None:
            return None
        if self.files.config.holds != "photos":
            raise OptionsError("Sentences have no paths to choose by; leave out the pattern")
        pattern = paths
        if not (paths.startswith("*") or os.path.isabs(paths)):
            pattern = os.path.normpath(os.path.join(glob.escape(os.getcwd()), paths))
        matches = re.compile(fnmatch.translate(pattern)).match
        rows = [row for row in range(len(self)) if matches(self._entry(row, "path"))]
        if not rows:
            raise OptionsError(f"No photo of the index has a path like {paths!r}")
        return np.array(rows)

    def _rank(
        self,
        query: "_Asked",
        rows: Int[np.ndarray, " _"] | None,
        top: int,
    ) -> list[Result]:
        crossed = (query.feature is None) == (self.files.config.holds == "photos")
        count = max(top, CANDIDATES)
        if rows is None and self.files.graph and count <= MOST:
            rows = self.files.graph.nearest(query.vector, count)
        vectors = self.files.vectors if rows is None else self.files.vectors[rows]
        likeness = vectors @ query.vector
        if crossed and query.feature is not None:
            likeness = likeness - self.files.values[:, 1]
        if not np.isfinite(likeness).all():
            raise damaged(self.files.folder, "a vector or value is not finite")
        near = largest(likeness, count)
        own = near if rows is None else rows[near]
        scores = likeness[near].astype(np.float64)
        if crossed:
            both = self._likelihoods(query, own[:CANDIDATES], scores[:CANDIDATES])
            if not np.isfinite(both).all():
                raise damaged(self.files.folder, "a value is not finite")
            rest = both.min() - 3 + scores[CANDIDATES:]  # a cosine: 1 at most
            scores = np.concatenate([both, rest])
        order = np.argsort(-scores, kind="stable")[:top]
        name = "path" if self.files.config.holds == "photos" else "sentence"
        return [
            Result(
                rank=rank,
                score=round(float(scores[place]), 4),
                **{name: self._entry(own[place], name)},
            )
            for rank, place in enumerate(order, start=1)
        ]

    def _entry(self, row: int | np.integer, name: str) -> str:
        """The path or the sentence of an entry."""
        try:
            found = json.loads(self.files.entries[row])[name]
        except (ValueError, TypeError, KeyError):
            found = None
        if not isinstance(found, str):
            raise damaged(self.files.folder, f"entry {row + 1} has no {name}")
        return found

    def _likelihoods(
        self, query: "_Asked", rows: Int[np.ndarray, " _"], likeness: Float[np.ndarray, " _"]
    ) -> Float[np.ndarray, " _"]:
        """Likelihood and likeness together, of the entries in these rows."""
        model, weights = self._model.ranker.checkpoint.model, self._model.ranker.weights
        values = np.asarray(self.files.values[rows])
        if query.words is not None:
            likelihoods = log_likelihoods(model, [query.words], values)[0]
            return np.asarray(weights.sentence_to_image * likeness + likelihoods)
        sentences = [self._entry(row, "sentence") for row in rows]
        words = [self._model.words(sentence) for sentence in sentences]
        assert query.feature is not None
        likelihoods = log_likelihoods(model, words, query.feature)[:, 0] - values[:, 0]
        return np.asarray(weights.image_to_sentence * likeness + likelihoods)


@dataclass(frozen=True)
class _Asked:
    """A query: its vector, and its words or its feature."""

    vector: Float[np.ndarray, " D"]
    words: list[int] | None
    feature: Float[np.ndarray, "1 F"] | None
