"""Ranking, exact and fast side by side: time, memory, recalls; and how both grow.

Run: python benchmarks/retrieval_speed.py [--model RUN] [--data DATA [--split dev]] [--exact]
Without --data, photos and sentences are random: times hold, ranks mean nothing and are left out.
Without --exact, the exact ranking is that of a random block, a few images with all sentences, and
its time is that of the block times the rest; its memory is that of the whole, whose arrays it has.
Each runs in a process of its own and tells its own peak memory (ru_maxrss).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.metrics.recall import image_to_sentence_ranks, recall_scores, sentence_to_image_ranks
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.precision import faster_precision
from mrnn.retrieval.index_folder import IndexConfig
from mrnn.retrieval.index_writer import index_writer
from mrnn.retrieval.likelihood import log_likelihoods
from mrnn.retrieval.ranking import Ranker, Rankings, rank_exactly, rank_fast
from mrnn.retrieval.search import RetrievalIndex
from mrnn.tokenizer import tokenize
from mrnn.training.batches import EncodedCaptions

QUERY = "a dog runs through the snow"
ENTRY = '{{"path": "/{}.jpg", "size": 0, "changed": 0}}'
ROWS_AT_ONCE = 4096
MARGINALS = "marginals.npy"
Answer = TypeVar("Answer")
Found = dict[str, Any]


def timed(call: Callable[[], Answer]) -> tuple[float, Answer]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def photos_and_captions(
    arguments: argparse.Namespace, checkpoint: Checkpoint
) -> tuple[EncodedCaptions, np.ndarray]:
    """Of a split of a dataset, or random ones."""
    if arguments.data:
        dataset = Dataset.load(arguments.data)
        images = dataset.split(arguments.split)[: arguments.images]
        words = [image.words for image in images]
        captions = EncodedCaptions.of(words, checkpoint.vocabulary)
        return captions, load_features(dataset, checkpoint.encoder).of(images).astype(np.float32)
    random = np.random.default_rng(0)
    lengths = random.integers(8, 15, arguments.sentences)
    words = [random.integers(3, len(checkpoint.vocabulary), length) for length in lengths]
    features = random.random((arguments.images, checkpoint.encoder.feature_size), np.float32)
    owners = np.arange(arguments.sentences) * arguments.images // arguments.sentences
    return EncodedCaptions(words, owners), features


def recalls(rankings: Rankings, image_of: np.ndarray) -> list[str]:
    """R@K and median rank in both directions.

    Of all queries, and of those of every other photo: if the split is dev, the half by which
    `mrnn train-ranking` chose no weights.
    """
    images = np.arange(image_of.max() + 1)
    to_sentence = image_to_sentence_ranks(rankings.image_to_sentence, image_of)
    to_image = sentence_to_image_ranks(rankings.sentence_to_image, image_of)
    lines = []
    for name, ranks, owners in (
        ("image to sentence", to_sentence, images),
        ("sentence to image", to_image, image_of),
    ):
        for which, queries in (("all", ranks), ("odd half", ranks[owners % 2 == 1])):
            found = recall_scores(queries)
            lines.append(
                f"       {name}, {which:<8}  R@1 {found.r_at_1:.1f}  R@5 {found.r_at_5:.1f}  "
                f"R@10 {found.r_at_10:.1f}  median rank {found.median_rank:g}"
            )
    return lines


def fast(arguments: argparse.Namespace, ranker: Ranker, precision: torch.dtype) -> Found:
    """By the joint space and the likelihood of candidates."""
    captions, features = photos_and_captions(arguments, ranker.checkpoint)
    sentences = captions.sentences
    before, marginals = timed(lambda: ranker.near_marginals(sentences, precision=precision))
    np.save(arguments.folder / MARGINALS, marginals)
    seconds, rankings = timed(lambda: rank_fast(ranker, sentences, features, marginals, precision))
    return {
        "seconds": seconds,
        "pairs": rankings.sentence_to_image.shape[::-1],
        "note": f"and {before:.1f} s for log P(sentence), which an index holds and both need",
        "recalls": recalls(rankings, captions.image_rows) if arguments.data else [],
    }


def exact(arguments: argparse.Namespace, ranker: Ranker, precision: torch.dtype) -> Found:
    """By the likelihood of every pair, or of a random block."""
    captions, features = photos_and_captions(arguments, ranker.checkpoint)
    sentences, marginals = captions.sentences, np.load(arguments.folder / MARGINALS)
    if arguments.exact:
        seconds, rankings = timed(
            lambda: rank_exactly(ranker.checkpoint.model, sentences, features, marginals, precision)
        )
        shown = recalls(rankings, captions.image_rows) if arguments.data else []
        size = rankings.sentence_to_image.shape[::-1]
        return {"seconds": seconds, "pairs": size, "note": "in full", "recalls": shown}
    count = min(len(features), max(1, 20_000 // len(sentences)))
    chosen = np.random.default_rng(0).choice(len(features), count, replace=False)
    wanted = np.zeros((len(sentences), len(features)), dtype=bool)
    wanted[:, chosen] = True
    model = ranker.checkpoint.model
    block, scores = timed(
        lambda: log_likelihoods(model, sentences, features, wanted=wanted, precision=precision)
    )
    Rankings(scores, scores - marginals[:, None], scores)
    note = f"extrapolated from {count} random images, {block:.1f} s"
    seconds = block * len(features) / count
    return {"seconds": seconds, "pairs": scores.shape[::-1], "note": note, "recalls": []}


def build(arguments: argparse.Namespace, ranker: Ranker, _: torch.dtype) -> Found:
    """An index of photos with random features."""
    checkpoint, random = ranker.checkpoint, np.random.default_rng(0)
    half, width = np.dtype(np.float16), checkpoint.encoder.feature_size
    entries = [ENTRY.format(i) for i in range(arguments.images)]
    config = IndexConfig(
        holds="photos", run=str(arguments.model), model=checkpoint.fingerprint,
        ranking=ranker.fingerprint, encoder=checkpoint.encoder, generation=0, entries=0,
    )  # fmt: skip
    features = np.empty((len(entries), width), half)
    for start in range(0, len(entries), ROWS_AT_ONCE):
        part = features[start : start + ROWS_AT_ONCE]
        part[:] = random.random(part.shape, np.float32)
    with index_writer(arguments.folder, config, width) as writer:
        writer.known.update(zip(entries, features, strict=True))
        seconds, _ = timed(lambda: writer.finish(entries, lambda part: ranker.see(features[part])))
    return {
        "seconds": seconds,
        "bytes": sum(file.stat().st_size for file in arguments.folder.iterdir()),
    }


def search(arguments: argparse.Namespace, _: Ranker, __: torch.dtype) -> Found:
    """The median of a hundred searches in it."""
    index = RetrievalIndex.load(arguments.folder, arguments.model)
    first, _ = timed(lambda: index.search(QUERY))
    seconds = statistics.median(timed(lambda: index.search(QUERY))[0] for _ in range(100))
    return {"seconds": seconds, "first": first}


def search_exactly(arguments: argparse.Namespace, ranker: Ranker, precision: torch.dtype) -> Found:
    """The same query with a random block of its photos."""
    features = RetrievalIndex.load(arguments.folder, arguments.model).files.values
    rows = np.random.default_rng(0).choice(len(features), 500, replace=False)
    model = ranker.checkpoint.model
    words = ranker.checkpoint.vocabulary.encode(tokenize(QUERY))
    block = np.asarray(features[np.sort(rows)])
    seconds, _ = timed(lambda: log_likelihoods(model, [words], block, precision=precision))
    return {"seconds": seconds * len(features) / len(rows)}


PARTS = {part.__name__: part for part in (fast, exact, build, search, search_exactly)}


def measured(part: str, folder: Path, *more: str) -> Found:
    """What a part finds in a process of its own, and its `peak` in GB."""
    order = [sys.executable, __file__, *sys.argv[1:], *more, "--only", part, "--folder", folder]
    process = subprocess.Popen(list(map(str, order)), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{part} failed")
    found: Found = json.loads(out)
    return {**found, "peak": usage.ru_maxrss / 2**20}


def side_by_side(images: int, sentences: int, *more: str) -> Iterator[str]:
    """Both ways of ranking all pairs."""
    sizes = ("--images", str(images), "--sentences", str(sentences))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for part in ("fast", "exact"):
            found = measured(part, Path(folder), *sizes, *more)
            seconds.append(found["seconds"])
            pictures, texts = found["pairs"]
            if part == "fast":
                yield f"{pictures:,} images x {texts:,} sentences"
            yield (
                f"{part:<6} {found['seconds']:8.1f} s {pictures * texts / found['seconds']:12,.0f}"
                f" pairs/s  peak {found['peak']:.2f} GB  ({found['note']})"
            )
            yield from found["recalls"]
    yield f"fast is {seconds[1] / seconds[0]:.0f} times as fast"


def growth(images: int) -> Iterator[str]:
    """One sentence asked of an index of random photos."""
    with tempfile.TemporaryDirectory() as folder:
        made, found, exactly = (
            measured(part, Path(folder), "--images", str(images))
            for part in ("build", "search", "search_exactly")
        )
        order = [sys.executable, "-m", "mrnn", "search", folder, QUERY]
        cold, _ = timed(lambda: subprocess.run(order, check=True, capture_output=True))
    yield (
        f"{images:>9,} photos: a search {1e3 * found['seconds']:.0f} ms (median of 100; the first "
        f"{1e3 * found['first']:.0f} ms, the cold command {cold:.1f} s), "
        f"peak {found['peak']:.2f} GB; exactly {exactly['seconds']:.1f} s (extrapolated from 500 "
        f"random photos), peak {exactly['peak']:.2f} GB; index {made['bytes'] / 1e6:,.0f} MB, "
        f"written in {made['seconds']:.1f} s"
    )


def main() -> None:
    """All of it, or one part in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--sentences", type=int, default=5000, help="of random ones")
    parser.add_argument("--exact", action="store_true", help="measure the exact matrix in full")
    parser.add_argument("--square", type=int, default=5000, help="random images and sentences")
    parser.add_argument("--indexes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--random", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.random:
        arguments.data, arguments.exact = None, False
    precision = getattr(torch, faster_precision())
    if arguments.only:
        ranker = Ranker.load(arguments.model, Checkpoint.load(arguments.model))
        print(json.dumps(PARTS[arguments.only](arguments, ranker, precision)))
        return
    print(f"likelihoods in {precision}, {torch.get_num_threads()} threads")
    parts = [side_by_side(arguments.images, arguments.sentences)]
    if arguments.square:
        parts.append(side_by_side(arguments.square, arguments.square, "--random"))
    for line in (line for part in [*parts, *map(growth, arguments.indexes)] for line in part):
        print(line, flush=True)


if __name__ == "__main__":
    main()
