"""Find photos for a sentence, sentences for a photo, and photos like a photo, in an index.

Letters: C rows of the index.
"""

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from mrnn.data.feature_store.store import CONFIG
from mrnn.data.photos.names import name_from_text
from mrnn.errors import CheckpointError, DataError, OptionsError
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.tags import Tagger
from mrnn.retrieval.index.config import MEND, Engine, Kind, read_index_config
from mrnn.retrieval.index.index import Index, IndexChanges, RetrievalModel, open_index
from mrnn.retrieval.index.lance_store import LanceStore
from mrnn.retrieval.index.path_pattern import PathPattern
from mrnn.retrieval.index.selection import Selection, ShardSelection
from mrnn.retrieval.index_ranking import IndexRanking
from mrnn.retrieval.query import PreparedQuery, Query, prepare_query
from mrnn.retrieval.results import SearchResult


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
        model: str | Path | None = None,
        *,
        encoder_file: str | Path | None = None,
        device: str = "cpu",
        prune: bool = False,
        engine: Engine | None = None,
        on_photo: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "PhotoIndex":
        """Make an index of photos, or add them to one; only new and changed ones are encoded.

        Other photos stay; with `prune`, those that are away are forgotten. `on_problem` gets a line
        for each photo that cannot be encoded; it is left out. `model` is by default the one that
        made the index, or that ships; `encoder_file` its encoder, if that does not ship; `device`
        is as for `Captioner.load`. `engine` is by default that of the index, or "numpy"; "lance" is
        for more photos than memory holds, and needs the extra of that name. Raises DataError if
        there is no photo, or the folder holds something else or cannot be written; CheckpointError
        for the model.
        """
        from mrnn.retrieval.index.folder import Scope
        from mrnn.retrieval.index.writer import index_photos  # what searches needs none

        if isinstance(photos, str | os.PathLike):
            raise TypeError("photos: expected a list of them, not one; give [photo]")
        loaded = RetrievalModel.load(model_of(folder, model), encoder_file, device)
        scope = Scope(prune=prune, engine=engine)
        changes = index_photos(photos, Path(folder), loaded, on_photo, on_problem, scope)
        return cls(open_index(Path(folder)), loaded, changes)

    @classmethod
    def build_sentences(
        cls,
        sentences: Iterable[str],
        folder: str | Path,
        model: str | Path | None = None,
        *,
        encoder_file: str | Path | None = None,
        device: str = "cpu",
        prune: bool = False,
        on_sentence: Callable[[], None] = lambda: None,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> "PhotoIndex":
        """Make an index of sentences, or add them to one.

        Other sentences stay, but not with `prune`. `on_problem` gets a line for each sentence
        without a known word; it is left out. The rest is as for `build`.
        """
        from mrnn.retrieval.index.folder import Scope
        from mrnn.retrieval.index.writer import index_sentences

        loaded = RetrievalModel.load(model_of(folder, model), encoder_file, device)
        scope = Scope(prune=prune)
        changes = index_sentences(sentences, Path(folder), loaded, on_sentence, on_problem, scope)
        return cls(open_index(Path(folder)), loaded, changes)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        *,
        encoder_file: str | Path | None = None,
        device: str = "cpu",
    ) -> "PhotoIndex":
        """Open an index with the model that made it; `model` is its folder, if it has moved.

        Where its folder is gone, the model that ships is tried. Raises DataError for the index, and
        CheckpointError if the model is another than the index was made with.
        """
        made = read_index_config(Path(folder))
        run = Path(model or name_from_text(made.run))
        gone = model is None and not run.is_dir()
        loaded = RetrievalModel.load(DEFAULT_MODEL if gone else run, encoder_file, device)
        mend = f"say by --model where {run} is now, or {MEND}" if gone else MEND
        return cls.open(folder, loaded, mend)

    @classmethod
    def open(cls, folder: str | Path, model: RetrievalModel, mend: str = MEND) -> "PhotoIndex":
        """Open an index with a model that is loaded. Raises as `load`."""
        index = open_index(Path(folder))
        made, now = index.config, model.config(index.config.holds)
        if (made.model, made.heads, made.encoder) != (now.model, now.heads, now.encoder):
            raise CheckpointError(
                f"{folder} was made with another model than {model.checkpoint.folder} holds now; "
                f"{mend}"
            )
        if made.columns != now.columns:
            raise DataError(f"{folder} has other columns than its model; remove it, then {MEND}")
        return cls(index, model)

    @property
    def model(self) -> RetrievalModel:
        """The model that searches."""
        return self._model

    @property
    def holds(self) -> Kind:
        """Photos or sentences."""
        return self._index.config.holds

    def path_of(self, photo: str) -> str | None:
        """The path of the photo with a `photo_id`; None if the index does not hold it."""
        if self.holds != "photos" or not re.fullmatch("[0-9a-f]{32}", photo):
            return None
        key = np.frombuffer(bytes.fromhex(photo), "<u8").astype(np.uint64).reshape(1, 2)
        row = int(self._index.find_keys(key)[0])
        return None if row < 0 else self._index.name(row)

    def __len__(self) -> int:
        return len(self._index)

    def prepare(self, query: Query) -> PreparedQuery:
        """A query to be searched, perhaps several times; it says which words find nothing.

        Raises OptionsError for a query without known words, ImageError for a photo that cannot be
        read.
        """
        return prepare_query(query, self._model, self._tagger)

    @property
    def _tagger(self) -> Tagger | None:
        """None for sentences, which have no features."""
        holds_photos = self._index.config.holds == "photos"
        return self._model.checkpoint.tagger if holds_photos else None

    @overload
    def search(  # type: ignore[overload-overlap]  # a string is a sequence, but of no queries
        self,
        queries: Query | PreparedQuery,
        top: int = 10,
        *,
        paths: str | None = None,
        min_score: float | None = None,
        effort: float | None = None,
        on_away: Callable[[str], None] = lambda _: None,
    ) -> list[SearchResult]: ...
    @overload
    def search(
        self,
        queries: Sequence[Query | PreparedQuery],
        top: int = 10,
        *,
        paths: str | None = None,
        min_score: float | None = None,
        effort: float | None = None,
        on_away: Callable[[str], None] = lambda _: None,
    ) -> list[list[SearchResult]]: ...
    def search(
        self,
        queries: Query | PreparedQuery | Sequence[Query | PreparedQuery],
        top: int = 10,
        *,
        paths: str | None = None,
        min_score: float | None = None,
        effort: float | None = None,
        on_away: Callable[[str], None] = lambda _: None,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """The best `top` finds, best first, for one query or for each of a list; ties by index.

        With `paths`, a pattern such as "*/2024/*" or "holiday/*", only photos whose path, from the
        root or from the working folder, matches it. With `min_score` only finds that are at least
        so good. `effort` is the percentage of vectors to look at, for an index that has so many
        that they are not all compared; 100 is exact. Photos that are away are left out, unless all
        finds are; `on_away` gets the path of each. Raises OptionsError for an impossible option,
        DataError for a damaged index, and as `prepare`.
        """
        if top < 1:
            raise OptionsError(f"top is {top}; ask for one find at least")
        if effort is not None and not 0 < effort <= 100:
            raise OptionsError(f"effort is {effort:g}; give a percentage above 0, up to 100")
        if min_score is not None and math.isnan(min_score):
            raise OptionsError("min_score is nan; give a number")
        if not isinstance(queries, list | tuple):
            one = [queries]
            return self.search(
                one,  # type: ignore[arg-type]
                top,
                paths=paths,
                min_score=min_score,
                effort=effort,
                on_away=on_away,
            )[0]
        asked = [
            query if isinstance(query, PreparedQuery) else self.prepare(query) for query in queries
        ]
        selection = self._select(paths, effort)
        least = -math.inf if min_score is None else min_score
        return [self._found(query, selection, top, least, on_away) for query in asked]

    def _found(
        self,
        query: PreparedQuery,
        selection: Selection,
        top: int,
        least: float,
        on_away: Callable[[str], None],
    ) -> list[SearchResult]:
        """The first rows that are good enough and there; if none is there, the first ones."""
        config = self._index.config
        name = "path" if config.holds == "photos" else "sentence"
        has_files = name == "path" and config.names == "paths"
        there: list[tuple[str, float]] = []
        away: list[tuple[str, float]] = []
        ranking = IndexRanking(self._index, self._model, self._tagger)
        for row, exact in ranking.in_order(query, selection, at_once=top):
            score = round(exact, 4)
            if score < least or len(there) == top:
                break
            find = self._index.name(row), score
            (there if not has_files or _is_there(find[0]) else away).append(find)
        away = away if there else away[:top]
        finds = there or away
        for path, _ in away:
            on_away(path)
        return [
            SearchResult(rank=rank, score=score, **{name: found})
            for rank, (found, score) in enumerate(finds, start=1)
        ]

    def _select(self, paths: str | None, effort: float | None) -> Selection:
        """The rows that a search may find."""
        config, pattern = self._index.config, None
        if paths is not None:
            if config.holds != "photos":
                raise OptionsError("Sentences have no paths to choose by; leave out the pattern")
            pattern = PathPattern.of(paths, are_paths=config.names == "paths")
        if isinstance(self._index, LanceStore):
            return self._index.select(pattern, effort)
        return ShardSelection.of(self._index, pattern)


def model_of(folder: str | Path, given: str | Path | None = None) -> Path:
    """The folder of the model to make or update an index with: as given, or that it was made with.

    For a new index, or where that folder is gone, the model that ships. Raises DataError.
    """
    if given is None and (Path(folder) / CONFIG).exists():
        run = Path(name_from_text(read_index_config(Path(folder)).run))
        return run if run.is_dir() else DEFAULT_MODEL
    return Path(given or DEFAULT_MODEL)


def _is_there(path: str) -> bool:
    return os.path.exists(path)
