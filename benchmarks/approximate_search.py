"""The graph of `mrnn index --approximate` beside the exact product: recall, time, size.

Run: python benchmarks/approximate_search.py DATA [--model RUN] [--counts 100000 1000000]
Three kinds of vectors, always in a joint space's size: those of DATA's train photos, asked for by
dev's sentences; as many as wanted of blends of two such photos, by the same sentences; and random
unit vectors by random ones, the hardest case: they have no near neighbours to be led to.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mrnn.retrieval import ann_index as neighbour_graph
from mrnn.data.dataset import Dataset
from mrnn.data.features import load_features
from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
from mrnn.retrieval.ann_index import EFFORT, NeighbourGraph
from mrnn.retrieval.ranking import Ranker
from mrnn.retrieval.search import CANDIDATES
from mrnn.tokenizer import tokenize

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


def best(vectors: np.ndarray, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The candidates among some rows or all, by the exact product."""
    likeness = (vectors if rows is None else vectors[rows]) @ query
    order = np.argpartition(-likeness, CANDIDATES)[:CANDIDATES]
    order = order[np.argsort(-likeness[order], kind="stable")]
    return order if rows is None else rows[order]


def timed(search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray) -> tuple[float, list]:
    """Milliseconds a query, and what was found for each."""
    begin = time.perf_counter()
    found = [search(query) for query in queries]
    return 1e3 * (time.perf_counter() - begin) / len(queries), found


def measure(name: str, vectors: np.ndarray, queries: np.ndarray, efforts: list[int]) -> None:
    """The product and how the graph is built, and a line for each effort of its search."""
    by_product, truth = timed(lambda query: best(vectors, query), queries)
    begin = time.perf_counter()
    made = NeighbourGraph.over(vectors).to_bytes()
    print(
        f"{name}, {len(vectors):,} x {vectors.shape[1]}: product {by_product:.2f} ms a query; "
        f"graph built in {time.perf_counter() - begin:.0f} s, {len(made) / 1e6:,.0f} MB",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph"
        file.write_bytes(made)
        for effort in efforts:
            neighbour_graph.EFFORT = effort
            graph = NeighbourGraph.open(file, vectors.shape[1])
            by_graph, found = timed(
                lambda query, graph=graph: best(vectors, query, graph.nearest(query, CANDIDATES)),
                queries,
            )
            pairs = list(zip(truth, found, strict=True))
            recall = sum(len(np.intersect1d(*pair)) for pair in pairs) / truth[0].size / len(pairs)
            first = sum(int(rows[0] in near) for rows, near in pairs) / len(pairs)
            print(
                f"    effort {effort:>5}: recall@{CANDIDATES} {recall:.4f}, of the first "
                f"{first:.3f}; {by_graph:.2f} ms a query",
                flush=True,
            )


def main() -> None:
    """Every kind in every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--counts", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--efforts", type=int, nargs="*", default=[EFFORT // 4, EFFORT])
    arguments = parser.parse_args()
    checkpoint = Checkpoint.load(arguments.model)
    ranker = Ranker.load(arguments.model, checkpoint)
    dataset = Dataset.load(arguments.data)
    of = load_features(dataset, checkpoint.encoder).of
    features = of(dataset.split("train")).astype(np.float32)
    words = [tokenize(image.captions[0]) for image in dataset.split("dev")[:QUERIES]]
    sentences = ranker.read([checkpoint.vocabulary.encode(sentence) for sentence in words])
    print(f"{torch.get_num_threads()} threads for products, all cores to build")
    efforts = sorted(set(arguments.efforts))
    measure("photos", ranker.see(features), sentences, efforts)
    random = np.random.default_rng(0)
    size, count = sentences.shape[1], min(arguments.counts)
    queries = random_vectors(random, len(sentences), size)
    measure("random", random_vectors(random, count, size), queries, efforts)
    for count in arguments.counts:
        blends = blended_vectors(ranker, features, random, count)
        measure("blends", blends, sentences, efforts)


if __name__ == "__main__":
    main()
