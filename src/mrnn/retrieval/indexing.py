"""Make an index of photos or sentences: what it holds of them already is not made again."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrnn.captioning.captioner import Captioner
from mrnn.data.images import load_image
from mrnn.errors import DataError, ImageError
from mrnn.retrieval.index_folder import IndexConfig, Kind
from mrnn.retrieval.index_writer import IndexWriter, index_writer
from mrnn.retrieval.ranking import Ranker
from mrnn.tokenizer import Vocabulary, tokenize

BATCH = 16
SENTENCES_AT_ONCE = 500


@dataclass(frozen=True)
class RankingModel:
    """A model that can rank, and where it is."""

    run: Path
    captioner: Captioner
    ranker: Ranker

    @classmethod
    def load(cls, run: Path, weights: str | Path | None = None) -> "RankingModel":
        """Raises CheckpointError for a model that has not learned to rank."""
        captioner = Captioner.load(run, weights=weights)
        ranker = captioner.ranker or Ranker.load(run, captioner.checkpoint)  # says what is missing
        return cls(run, captioner, ranker)

    def config(self, holds: Kind, *, approximate: bool = False) -> IndexConfig:
        """Of an index made by it."""
        return IndexConfig(
            holds=holds,
            run=os.path.abspath(self.run),
            model=self.captioner.checkpoint.fingerprint,
            ranking=self.ranker.fingerprint,
            encoder=self.captioner.encoder.identity,
            generation=0,
            entries=0,
            approximate=approximate,
        )

    def words(self, sentence: str) -> list[int]:
        """As ids."""
        return self.captioner.checkpoint.vocabulary.encode(tokenize(sentence))


def index_photos(
    photos: Iterable[str | Path],
    folder: Path,
    model: RankingModel,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
    *,
    approximate: bool,
) -> None:
    """Of just these photos; one that cannot be read is left out and told to `on_problem`."""
    config, ranker = model.config("photos", approximate=approximate), model.ranker
    with index_writer(folder, config, config.encoder.feature_size) as writer:
        entries = _encode_photos(photos, writer, model.captioner, on_photo, on_problem)
        if not entries:
            raise DataError(f"{folder}: no photo could be read, so there is nothing to index")
        writer.finish(
            entries, lambda part: ranker.see(np.stack([writer.known[e] for e in entries[part]]))
        )


def index_sentences(
    sentences: Iterable[str],
    folder: Path,
    model: RankingModel,
    on_sentences: Callable[[int], None],
    on_problem: Callable[[str], None],
) -> None:
    """Of just these sentences; log P(sentence) of new ones is worked out here.

    One without a word that the model knows is left out and told to `on_problem`.
    """
    config, ranker = model.config("sentences"), model.ranker
    words: dict[str, list[int]] = {}
    for sentence in sentences:
        ids = model.words(sentence)
        if any(word != Vocabulary.UNK for word in ids):
            words[json.dumps({"sentence": sentence})] = ids
        else:
            on_problem(f"{sentence!r:.80}: has no word that the model knows")
    entries = list(words)
    if not entries:
        raise DataError(f"{folder}: there are no sentences to index")
    with index_writer(folder, config, width=2) as writer:
        new = [entry for entry in entries if entry not in writer.known]
        on_sentences(len(entries) - len(new))
        for start in range(0, len(new), SENTENCES_AT_ONCE):
            block = new[start : start + SENTENCES_AT_ONCE]
            chosen = [words[entry] for entry in block]
            marginals = ranker.near_marginals(chosen)
            common = ranker.commonness(ranker.read(chosen))
            for entry, values in zip(block, np.stack([marginals, common], 1), strict=True):
                writer.add(entry, values)
            on_sentences(len(block))
        writer.finish(entries, lambda part: ranker.read([words[e] for e in entries[part]]))


def _encode_photos(
    photos: Iterable[str | Path],
    writer: IndexWriter,
    captioner: Captioner,
    on_photo: Callable[[], None],
    on_problem: Callable[[str], None],
) -> list[str]:
    """The entries of the photos that could be read, once their features are known."""
    entries: list[str] = []
    waiting: dict[str, np.ndarray] = {}

    def encode() -> None:
        if waiting:
            features = captioner.encoder.encode(np.stack(list(waiting.values())))
            for entry, feature in zip(waiting, features.astype(np.float16), strict=True):
                writer.add(entry, feature)
            waiting.clear()

    for photo in photos:
        try:
            entry = _photo_entry(photo)
            if entry not in writer.known:
                loaded = load_image(photo, least_side=captioner.encoder.identity.least_side)
                waiting[entry] = captioner.encoder.preprocess(loaded)
            entries.append(entry)
        except ImageError as error:
            on_problem(str(error))
        if len(waiting) == BATCH:
            encode()
        on_photo()
    encode()
    return list(dict.fromkeys(entries))


def _photo_entry(photo: str | Path) -> str:
    """Where a photo is and what tells one state of its file from another."""
    try:
        status = os.stat(photo)
        size, changed = status.st_size, status.st_mtime_ns
    except (OSError, ValueError):
        size, changed = -1, -1  # reading it will say what is wrong
    return json.dumps({"path": os.path.abspath(photo), "size": size, "changed": changed})
