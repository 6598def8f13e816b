"""The graph of `mrnn index --approximate` beside the exact product: recall, time, size.

Run: python benchmarks/approximate_search.py DATA [--model RUN] [--counts 100000 1000000]
Three kinds of vectors, always in a joint space's size: those of DATA's train photos, asked for by
dev's sentences; as many as wanted of blends of two such photos, by the same sentences; and random
unit vectors by random ones, which have no near neighbours, so that no graph can lead to them.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mrnn.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.dataset import Dataset
from mrnn.features import load_features
from mrnn.neighbour_graph import NeighbourGraph
from mrnn.ranking import Ranker
from mrnn.retrieval import CANDIDATES
from mrnn.tokenization import tokenize

QUERIES = 200
ROWS_AT_ONCE = 5_000


def random_vectors(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Of unit length, in all directions alike."""
    vectors = random.standard_normal((count, size), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def blended_vectors(
    ranker: Ranker, features: np.ndarray, random: np.random.Generator, count: int
) -> np.ndarray:
    """Of photos that are each a random share of one photo and the rest of another."""
    blocks = []
    for start in range(0, count, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, count - start)
        one, other = random.integers(0, len(features), (2, rows))
        share = random.random((rows, 1), dtype=np.float32)
        blocks.append(ranker.see(share * features[one] + (1 - share) * features[other]))
    return np.concatenate(blocks)


def best(vectors: np.ndarray, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The candidates among some rows, by the exact product."""
    return rows[np.argsort(-(vectors[rows] @ query), kind="stable")[:CANDIDATES]]


def measure(name: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    """One line."""
    begin = time.perf_counter()
    made = NeighbourGraph.over(vectors).to_bytes()
    building = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph"
        file.write_bytes(made)
        size, made = len(made), b""
        graph = NeighbourGraph.open(file, vectors.shape[1])
        begin = time.perf_counter()
        found = [best(vectors, graph.nearest(query, CANDIDATES), query) for query in queries]
        by_graph = (time.perf_counter() - begin) / len(queries)
    everything = np.arange(len(vectors))
    begin = time.perf_counter()
    likeness = [vectors @ query for query in queries]
    by_product = (time.perf_counter() - begin) / len(queries)
    hits = firsts = 0
    for scores, rows in zip(likeness, found, strict=True):
        edge = np.partition(scores, -CANDIDATES)[-CANDIDATES:]
        truth = everything[scores >= edge[0]]
        hits += len(np.intersect1d(truth[:CANDIDATES], rows))
        firsts += int(scores.argmax() in rows)
    print(
        f"{name:<8} {len(vectors):>9,} x {vectors.shape[1]}: recall@{CANDIDATES} "
        f"{hits / CANDIDATES / len(queries):.4f}, of the first {firsts / len(queries):.3f}; graph "
        f"{1e3 * by_graph:.2f} ms, product {1e3 * by_product:.2f} ms a query; built in "
        f"{building:.0f} s, {size / 1e6:,.0f} MB",
        flush=True,
    )


def main() -> None:
    """Every kind in every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--counts", type=int, nargs="*", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    checkpoint = Checkpoint.load(arguments.model)
    ranker = Ranker.load(arguments.model, checkpoint)
    dataset = Dataset.load(arguments.data)
    of = load_features(dataset, checkpoint.encoder).of
    features = of(dataset.split("train")).astype(np.float32)
    words = [tokenize(image.captions[0]) for image in dataset.split("dev")[:QUERIES]]
    sentences = ranker.read([checkpoint.vocabulary.encode(sentence) for sentence in words])
    print(f"{torch.get_num_threads()} threads for products, all cores to build")
    measure("photos", ranker.see(features), sentences)
    for count in arguments.counts:
        random = np.random.default_rng(0)
        measure("blends", blended_vectors(ranker, features, random, count), sentences)
        size = sentences.shape[1]
        queries = random_vectors(random, len(sentences), size)
        measure("random", random_vectors(random, count, size), queries)


if __name__ == "__main__":
    main()
