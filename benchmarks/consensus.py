"""Consensus reranking on a split: the gain, the effect of k and m, and the best possible choice.

Run: python benchmarks/consensus.py DATA [--model RUN] [--split dev] [--limit N] [--nbest FILE]
Prints tables in Markdown. The hypotheses, ten a photo, are kept in FILE for the next time.
Reranking takes document frequencies from the train captions; scores take the references'.
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import ConsensusOptions, TrainingCaptions, feature_space, self_scores
from mrnn.captioning.nbest import NBest, Ranked, read_nbest
from mrnn.data.dataset import CaptionedImage, Dataset
from mrnn.data.features import load_features
from mrnn.evaluation.evaluate import references_of
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider_d
from mrnn.metrics.sentence_similarity import Corpus
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.config import RerankingOptions
from mrnn.outputs import write_whole

Lists = Sequence[Sequence[Sequence[str]]]
HYPOTHESES = 10
NEIGHBOURS = (15, 30, 60, 120)
REFERENCES = (25, 75, 125, 175, 300)
AT_ONCE = 100


def find_hypotheses(
    captioner: Captioner, images: Sequence[CaptionedImage], features: np.ndarray
) -> Iterable[NBest]:
    """The ten best of a beam of ten, for each image."""
    change = {"n_best": HYPOTHESES, "beam_size": HYPOTHESES}
    options = captioner.checkpoint.config.decoding.model_copy(update=change)
    for start in range(0, len(images), AT_ONCE):
        block = features[start : start + AT_ONCE].astype(np.float32)
        names = (image.name for image in images[start : start + AT_ONCE])
        captions = captioner.describe(block, options, RerankingOptions())
        for name, found in zip(names, captions, strict=True):
            captions = tuple(Ranked(text=caption.text) for caption in found)
            yield NBest(image=name, captions=captions)


def hypotheses_of(
    file: Path, captioner: Captioner, images: Sequence[CaptionedImage], features: np.ndarray
) -> Lists:
    """The hypotheses in the file, which is made if it is not there."""
    if not file.exists():
        found = find_hypotheses(captioner, images, features)
        lines = [each.model_dump_json(exclude_unset=True) for each in found]
        write_whole(file, "\n".join(lines) + "\n")
    lists = read_nbest(file)
    if [each.image for each in lists] != [image.name for image in images]:
        raise SystemExit(f"{file} holds other images; give another --nbest")
    return [each.sentences for each in lists]


def row(name: str, lists: Lists, scores: Iterable[np.ndarray], references: Lists) -> None:
    """A line of a table: the captions of the highest scores, measured."""
    chosen = [own[int(np.argmax(each))] for own, each in zip(lists, scores, strict=True)]
    four = corpus_bleu(chosen, references)[3]
    cider, distinct = cider_d(chosen, references).mean(), len(set(map(tuple, chosen)))
    print(f"| {name} | {four:.4f} | {cider:.4f} | {distinct / len(chosen):.0%} |", flush=True)


def head(first: str) -> None:
    """The head of a table."""
    print(f"\n| {first} | BLEU-4 | CIDEr-D | distinct |\n|---|---|---|---|")


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--nbest", type=Path, default=Path("nbest.jsonl"))
    arguments = parser.parse_args()
    captioner, dataset = Captioner.for_features(arguments.model), Dataset.load(arguments.data)
    images = dataset.split(arguments.split)[: arguments.limit]
    features = load_features(dataset, captioner.checkpoint.encoder).of(images)
    lists = hypotheses_of(arguments.nbest, captioner, images, features)
    references = references_of(images)

    head(f"{len(images):,} images of {arguments.split}, beam {HYPOTHESES}")
    row("the model alone", lists, ([1.0] for _ in lists), references)
    for by in ("cider", "bleu"):
        row(f"by each other, {by}", lists, self_scores(lists, by), references)
    own = Corpus(references)
    rows = [own.rows_of([place]) for place in range(len(images))]
    for by in ("cider", "bleu"):
        best = (matrix.mean(axis=1) for matrix in own.compare(lists, rows, by))
        row(f"best of {HYPOTHESES} by {by} on the references", lists, best, references)

    training = TrainingCaptions(dataset.split("train"))

    def by_neighbours(name: str, options: ConsensusOptions) -> None:
        space = feature_space(dataset, training.images, captioner.checkpoint, options)
        nearest = space.nearest(features, options.neighbours)
        scores = (found.scores for found in training.compare(lists, nearest, options))
        row(name, lists, scores, references)

    head("neighbours, k 60")
    spaces = ("raw", "refined", "joint") if captioner.checkpoint.heads else ("raw", "refined")
    for choice in itertools.product(spaces, ("euclidean", "cosine"), ("cider", "bleu")):
        named = dict(zip(("features", "distance", "by"), choice, strict=True))
        by_neighbours(", ".join(choice), ConsensusOptions.model_validate(named))
    for by in ("cider", "bleu"):
        head(f"k, m by {by}")
        for k, m in itertools.product(NEIGHBOURS, REFERENCES):
            options = ConsensusOptions(by=by, neighbours=k, references=m)
            if m <= 5 * k:
                by_neighbours(f"{k}, {m}", options)


if __name__ == "__main__":
    main()
