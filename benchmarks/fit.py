"""What a caption's fit to its photo is worth beside likelihood and consensus, on halves of dev.

Run: python benchmarks/fit.py DATA [--model RUN]
All captions that a beam holds are scored by likelihood, likeness in the joint space and the CIDEr
to expect, and by the captions of DATA's train split, with sentence BLEU and likelihood beside as a
captioner has them where what fits counts; each mix of these chooses one. The half that is chosen on
and the half that is reported on are drawn by a fixed seed. Prints a table in Markdown: BLEU-4 and
CIDEr-D of both halves and of the whole, and the share of captions that are distinct.
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import ConsensusOptions, TrainingCaptions, feature_space
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.evaluation.evaluate import references_of
from mrnn.metrics.bleu import corpus_bleu
from mrnn.metrics.cider import cider_d
from mrnn.model.checkpoint import DEFAULT_MODEL

BEAMS = (200,)
LIKENESS = (0.0, 2.5, 3.0, 4.0)
EXPECTED_CIDER = (0.0, 2.0, 3.0, 4.0)
AT_ONCE = 50
COLUMNS = (
    "beam", "consensus", "likeness", "expected CIDEr", "chosen on", "reported on", "all", "distinct"
)  # fmt: skip


def search(
    captioner: Captioner, features: np.ndarray, beam: int
) -> Iterator[tuple[list[list[str]], np.ndarray]]:
    """All captions of a beam for each image, as words, and what likelihood scores them."""
    update = {"beam_size": beam, "n_best": beam}
    options = captioner.checkpoint.decoding.by_likelihood.model_copy(update=update)
    for start in range(0, len(features), AT_ONCE):
        block = torch.from_numpy(features[start : start + AT_ONCE].astype(np.float32))
        for found in captioner.describe(block, options):
            words = [[word.word for word in caption.words] for caption in found]
            nats = [caption.log_probability for caption in found]
            lengths = np.array([len(own) + 1 for own in words])
            yield words, np.array(nats) / lengths**options.length_exponent


def main() -> None:
    """A row for each beam and mix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a dataset folder with its features extracted")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    arguments = parser.parse_args()
    dataset, captioner = Dataset.load(arguments.data), Captioner.load(arguments.model)
    checkpoint, ranker = captioner.checkpoint, captioner.ranker
    if ranker is None:
        parser.error(f"{arguments.model} has not learned to rank; run mrnn train-ranking")
    images, train = dataset.split("dev"), TrainingCaptions(dataset.split("train"))
    features = load_features(dataset, checkpoint.encoder).of(images)
    references = references_of(images)
    options = ConsensusOptions()
    space = feature_space(dataset, train.images, checkpoint, options, ranker)
    nearest = space.nearest(features, options.neighbours)
    order = np.random.default_rng(0).permutation(len(images))
    sets = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :]), np.sort(order)
    print(f"| {' | '.join(COLUMNS)} |\n| {' | '.join(['---'] * len(COLUMNS))} |")
    for beam in BEAMS:
        lists, likely = zip(*search(captioner, features, beam), strict=True)
        ids = [[checkpoint.vocabulary.encode(words) for words in own] for own in lists]
        near, expected = ranker.likeness(ids, features), ranker.expected_cider(ids, features)
        agreed = [opinion.scores for opinion in train.judge(lists, nearest, options)]
        by_bleu = ConsensusOptions(by="bleu")
        others = [opinion.scores for opinion in train.judge(lists, nearest, by_bleu)]
        beside = [
            options.share * nats + options.bleu * other
            for nats, other in zip(likely, others, strict=True)
        ]
        for by, one, two in itertools.product((likely, agreed), LIKENESS, EXPECTED_CIDER):
            counted = 1.0 if by is agreed and (one or two) else 0.0
            cider = two * (options.share if by is agreed else 1.0)
            parts = zip(by, beside, near, expected, strict=True)
            scores = (a + counted * more + one * b + cider * c for a, more, b, c in parts)
            said = [own[int(np.argmax(s))] for own, s in zip(lists, scores, strict=True)]
            cells = [str(beam), "no" if by is likely else "yes", f"{one:g}", f"{two:g}"]
            for rows in sets:
                pair = [said[row] for row in rows], [references[row] for row in rows]
                cells.append(f"{corpus_bleu(*pair)[3]:.3f}, {cider_d(*pair).mean():.3f}")
            distinct = len(set(map(tuple, said))) / len(said)
            print(f"| {' | '.join(cells)} | {distinct:.0%} |", flush=True)


if __name__ == "__main__":
    main()
