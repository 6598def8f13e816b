"""Ranking, exact and fast side by side, and searches of large indexes, in one run.

Run: python benchmarks/retrieval_speed.py [--model RUN] [--data DATA [--split dev]] [--exact]
Without --data, photos and sentences are random: times hold, ranks mean nothing and are left out.
Without --exact, the exact time is that of all sentences with a few random images, times the rest.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from mrnn.batching import EncodedCaptions
from mrnn.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.dataset import Dataset
from mrnn.features import load_features
from mrnn.index_folder import IndexConfig, index_writer, photo_maker
from mrnn.metrics.ranking import image_to_sentence_ranks, ranking_scores, sentence_to_image_ranks
from mrnn.ranking import Ranker, Rankings, fingerprint, rank_exactly, rank_fast
from mrnn.recipe import TrainingOptions
from mrnn.retrieval import RetrievalIndex
from mrnn.scoring import log_likelihoods
from mrnn.tokenization import tokenize
from mrnn.training import chosen_precision

QUERY = "a dog runs through the snow"
Answer = TypeVar("Answer")


def timed(call: Callable[[], Answer]) -> tuple[float, Answer]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def peak() -> str:
    """The most memory that this process has had so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"


def photos_and_captions(
    arguments: argparse.Namespace, checkpoint: Checkpoint
) -> tuple[EncodedCaptions, np.ndarray]:
    """Of a split of a dataset, or random ones of the same sizes."""
    if arguments.data:
        dataset = Dataset.load(arguments.data)
        images = dataset.split(arguments.split)[: arguments.images]
        words = [[tokenize(caption) for caption in image.captions] for image in images]
        captions = EncodedCaptions.of(words, checkpoint.vocabulary)
        return captions, load_features(dataset, checkpoint.encoder).of(images).astype(np.float32)
    random = np.random.default_rng(0)
    lengths = random.integers(8, 15, 5 * arguments.images)
    words = [random.integers(3, len(checkpoint.vocabulary), length) for length in lengths]
    features = random.random((arguments.images, checkpoint.encoder.feature_size), np.float32)
    return EncodedCaptions(words, np.repeat(np.arange(arguments.images), 5)), features


def recalls(rankings: Rankings, image_of: np.ndarray) -> str:
    """R@K and median rank in both directions.

    Of all queries, and of those of every other photo: if the split is dev, the half by which
    `mrnn train-ranking` chose no weights.
    """
    lines = []
    for name, ranks, images in (
        (
            "image to sentence",
            image_to_sentence_ranks(rankings.image_to_sentence, image_of),
            np.arange(image_of.max() + 1),
        ),
        (
            "sentence to image",
            sentence_to_image_ranks(rankings.sentence_to_image, image_of),
            image_of,
        ),
    ):
        for which, queries in (("all", ranks), ("odd half", ranks[images % 2 == 1])):
            found = ranking_scores(queries)
            lines.append(
                f"       {name}, {which:<8}  R@1 {found.r_at_1:.1f}  R@5 {found.r_at_5:.1f}  "
                f"R@10 {found.r_at_10:.1f}  median rank {found.median_rank:g}"
            )
    return "\n".join(lines)


def compare(arguments: argparse.Namespace, ranker: Ranker, precision: torch.dtype) -> None:
    """Exact and fast on the same photos and sentences."""
    captions, features = photos_and_captions(arguments, ranker.checkpoint)
    sentences, count = captions.sentences, len(features)
    pairs = len(sentences) * count
    print(f"{count:,} images x {len(sentences):,} sentences, likelihoods in {precision}")
    seconds, marginals = timed(lambda: ranker.near_marginals(sentences, precision=precision))
    print(f"log P(sentence), as an index holds it, needed by both: {seconds:.1f} s")
    fast, rankings = timed(lambda: rank_fast(ranker, sentences, features, marginals, precision))
    print(f"fast   {fast:8.1f} s  {pairs / fast:12,.0f} pairs/s  peak {peak()}")
    if arguments.data:
        print(recalls(rankings, captions.image_rows))
    if arguments.exact:
        exact, rankings = timed(
            lambda: rank_exactly(ranker.checkpoint.model, sentences, features, marginals, precision)
        )
        note = "measured in full"
    else:
        chosen = np.random.default_rng(0).choice(count, min(4, count), replace=False)
        model = ranker.checkpoint.model
        block, _ = timed(
            lambda: log_likelihoods(model, sentences, features[chosen], precision=precision)
        )
        exact = block * count / len(chosen)
        note = f"extrapolated from {len(chosen)} random images, {block:.1f} s"
    print(f"exact  {exact:8.1f} s  {pairs / exact:12,.0f} pairs/s  peak {peak()}  ({note})")
    if arguments.data and arguments.exact:
        print(recalls(rankings, captions.image_rows))
    print(f"fast is {exact / fast:.0f} times as fast")


def grow(arguments: argparse.Namespace, ranker: Ranker, count: int) -> None:
    """Searches in an index of `count` photos with random features."""
    checkpoint, random = ranker.checkpoint, np.random.default_rng(0)
    features = random.random((count, checkpoint.encoder.feature_size), np.float32)
    entries = [json.dumps({"path": f"/{i}.jpg", "size": 0, "changed": 0}) for i in range(count)]
    config = IndexConfig(
        holds="photos", run=str(arguments.model), model=fingerprint(checkpoint),
        ranking=ranker.fingerprint, encoder=checkpoint.encoder, generation=0, entries=0,
    )  # fmt: skip
    half = np.dtype(np.float16)
    maker, width = photo_maker(checkpoint.encoder), features.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        with index_writer(Path(folder), "photos", maker, half, width) as writer:
            writer.known.update(zip(entries, features.astype(half), strict=True))
            writer.finish(config, entries, lambda part: ranker.see(features[part]))
        index = RetrievalIndex.load(folder, arguments.model)
        cold, _ = timed(lambda: index.search(QUERY))
        median = statistics.median(timed(lambda: index.search(QUERY))[0] for _ in range(100))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    words = checkpoint.vocabulary.encode(tokenize(QUERY))
    block, _ = timed(lambda: log_likelihoods(checkpoint.model, [words], features[:500]))
    print(
        f"{count:>9,} photos: a search takes {1e3 * median:.0f} ms (median of 100; the first "
        f"{1e3 * cold:.0f} ms), exactly it would take {block * count / 500:.1f} s (extrapolated "
        f"from 500); index {size / 1e6:,.0f} MB, peak {peak()}"
    )


def main() -> None:
    """Both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--exact", action="store_true", help="measure the exact matrix in full")
    parser.add_argument("--indexes", type=int, nargs="*", default=[10_000, 100_000])
    arguments = parser.parse_args()
    ranker = Ranker.load(arguments.model, Checkpoint.load(arguments.model))
    precision = getattr(torch, chosen_precision(TrainingOptions()))
    compare(arguments, ranker, precision)
    for count in arguments.indexes:
        grow(arguments, ranker, count)


if __name__ == "__main__":
    main()
