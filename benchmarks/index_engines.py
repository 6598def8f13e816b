"""Index synthetic vectors by each engine, and search them: recall, time, memory, disk.

    .venv/bin/python benchmarks/index_engines.py --rows 10000 100000 1000000

Vectors have the size of the shipped model's and lie in clusters of clusters. Paths name ten years,
which have nothing to do with the clusters. A row has no feature of 8,320 bytes, which no search for
candidates reads: add that to the disk. Building and searching run in processes of their own, on as
many threads as OMP_NUM_THREADS says. A search is for the nearest 50, with their names, vectors and
scores, as `mrnn search` asks for them before it computes likelihoods. All queries are asked twice:
new ones read from the disk, or from the system's cache, what known ones find in memory.

Letters: N rows of a block, Q queries, D joint embedding.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Column, Rows
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.retrieval.index.config import IndexConfig
from mrnn.retrieval.index.folder import EVERYTHING_STAYS, index_writer
from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.index.lance_store import LanceStore
from mrnn.retrieval.index.path_pattern import PathPattern
from mrnn.retrieval.index.selection import ShardSelection

BLOCK, QUERIES, NEAREST, YEARS = 4096, 60, 50, 10
WIDTHS = (16, 16, 32)
"""Clusters of clusters: so many of each kind in the one above."""
NOISE = (1.0, 0.7, 0.5, 0.4)
"""How far centres of each kind, and vectors, lie from the centre above; the first from 0."""
FILTER = "*/2024/*"


def centres(size: int) -> np.ndarray:
    """Of all clusters, by clusters of clusters."""
    random, found = np.random.default_rng(7), np.zeros((1, size), np.float32)
    for width, noise in zip(WIDTHS, NOISE, strict=False):
        steps = random.standard_normal((len(found) * width, size), dtype=np.float32)
        found = np.repeat(found, width, axis=0) + steps * (noise / np.sqrt(size))
    return found


def block(number: int, rows: int, middles: np.ndarray) -> np.ndarray:
    """Some vectors of length 1, always the same."""
    random = np.random.default_rng((11, number))
    steps = random.standard_normal((rows, middles.shape[1]), dtype=np.float32)
    chosen = middles[random.integers(len(middles), size=rows)]
    vectors = chosen + steps * (NOISE[-1] / np.sqrt(middles.shape[1]))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blocks(rows: int, middles: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """All vectors, after the number of the first."""
    for number, start in enumerate(range(0, rows, BLOCK)):
        yield start, block(number, min(BLOCK, rows - start), middles)


def path_of(row: int) -> str:
    """Of a photo in one of ten years, and one of 200 folders of it."""
    return f"/photos/{2015 + row * 7919 % YEARS}/{row * 104_729 % 200:03}/IMG_{row:09}.jpg"


def config_of(engine: str) -> IndexConfig:
    """Of the model that ships, with a feature of 4 values."""
    made = RetrievalModel.load(DEFAULT_MODEL).config("photos", engine)
    feature = Column(dtype="float16", size=4)
    return made.model_copy(update={"columns": {**made.columns, "features": feature}})


def build(folder: Path, config: IndexConfig, rows: int) -> dict[str, float]:
    """The index, and what it took; to make the vectors does not count."""
    middles, making = centres(config.columns["vectors"].size), 0.0
    started, busy = time.monotonic(), time.process_time()
    with index_writer(folder, config, EVERYTHING_STAYS, None) as (writer, _):
        before = time.process_time()
        for start, vectors in blocks(rows, middles):
            names = [path_of(row) for row in range(start, start + len(vectors))]
            stamps = np.full((len(names), STAMP), UNKNOWN)
            features = np.zeros((len(names), 4), np.float16)
            making += time.process_time() - before
            writer.write(Rows(names, stamps, {"vectors": vectors, "features": features}))
            before = time.process_time()
    return {
        "wall_s": time.monotonic() - started,
        "cpu_s": time.process_time() - busy - making,
        "peak_mb": peak(),
        "disk_mb": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
    }


def exact(file: Path, rows: int, size: int) -> dict[str, float]:
    """A file of queries and their nearest rows by the exact product: of all, and of one year."""
    middles = centres(size)
    queries = block(10**6, QUERIES, middles)
    best = {name: np.zeros((len(queries), 0, 2)) for name in ("all", "year")}
    for start, vectors in blocks(rows, middles):
        numbers = np.arange(start, start + len(vectors))
        years = 2015 + numbers * 7919 % YEARS
        products = queries @ vectors.T
        for name, chosen in (("all", numbers >= 0), ("year", years == 2024)):
            new = np.stack([products[:, chosen], np.tile(numbers[chosen], (len(queries), 1))], -1)
            every = np.concatenate([best[name], new], axis=1)
            order = np.argsort(-every[:, :, 0], axis=1, kind="stable")[:, :NEAREST]
            best[name] = np.take_along_axis(every, order[:, :, None], axis=1)
    rows_of = {name: found[:, :, 1].astype(int) for name, found in best.items()}
    np.savez(file, queries=queries, **rows_of)
    nearness = {
        f"{name}_{place}": best[name][:, place, 0].mean() for name in best for place in (0, 49)
    }
    return {name: float(value) for name, value in nearness.items()}


def search(folder: Path, file: Path, effort: float | None) -> dict[str, float]:
    """What searches of an index find, and what they take."""
    truth = np.load(file)
    queries, baseline, started = truth["queries"], anonymous(), time.monotonic()
    index, report = open_index(folder), dict[str, float]()
    for name, given in (("all", None), ("year", FILTER)):
        times, busy, recalls = [], [], []
        pattern = PathPattern.of(given, are_paths=True) if given else None
        for query, nearest in list(zip(queries, truth[name], strict=True)) * 2:
            before = time.perf_counter(), time.process_time()
            if isinstance(index, LanceStore):
                selection = index.select(pattern, effort)
            else:
                selection = ShardSelection.of(index, pattern)
            found = selection.nearest(query, hubness=False)(NEAREST)
            index.take("vectors", found) @ query
            names = {index.name(row) for row in found.tolist()}
            times.append(time.perf_counter() - before[0])
            busy.append(time.process_time() - before[1])
            if not recalls and not given:
                report["first_ms"] = 1000 * (time.monotonic() - started)
            recalls.append(len(names & {path_of(row) for row in nearest.tolist()}) / len(nearest))
        report[f"{name}_recall"] = float(np.mean(recalls))
        report[f"{name}_worst"] = float(np.min(recalls))
        for kind, part in (("new", slice(QUERIES)), ("known", slice(QUERIES, None))):
            report[f"{name}_{kind}_ms"] = 1000 * float(np.median(times[part]))
            report[f"{name}_{kind}_cpu_ms"] = 1000 * float(np.median(busy[part]))
    return report | {"peak_mb": peak(), "own_mb": anonymous() - baseline}


def peak() -> float:
    """The most memory that the process has had, mapped files included, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def anonymous() -> float:
    """Its memory without mapped files, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1000


def run(*arguments: object) -> dict[str, float]:
    """A step in a process of its own."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=dict(os.environ))
    return json.loads(done.stdout)


def step(name: str, folder: Path, rows: int, effort: float | None) -> dict[str, float]:
    """One of the steps, here."""
    config = IndexConfig.model_validate_json((folder.parent / f"{folder.name}.json").read_text())
    truth = folder.parent / f"exact-{rows}.npz"
    if name == "exact":
        return exact(truth, rows, config.columns["vectors"].size)
    return build(folder, config, rows) if name == "build" else search(folder, truth, effort)


def main() -> None:
    """Each engine at each size; a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--engines", nargs="+", default=["numpy", "lance"])
    parser.add_argument("--effort", type=float, help="percentage of the vectors to look at")
    parser.add_argument("--work", type=Path, default=Path("runs/index-engines"))
    parser.add_argument("--keep", action="store_true", help="keep the indexes, and reuse them")
    parser.add_argument("--step", choices=["build", "exact", "search"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        folder = given.work / f"{given.engines[0]}-{given.rows[0]}"
        print(json.dumps(step(given.step, folder, given.rows[0], given.effort)))
        return
    given.work.mkdir(parents=True, exist_ok=True)
    effort = ("--effort", given.effort) if given.effort else ()
    for rows in given.rows:
        for engine in given.engines:
            folder = given.work / f"{engine}-{rows}"
            folder.with_name(f"{folder.name}.json").write_text(config_of(engine).model_dump_json())
            common = ("--rows", rows, "--engines", engine, "--work", given.work, *effort)
            report: dict[str, object] = {"rows": rows, "engine": engine}
            if not (given.work / f"exact-{rows}.npz").exists():
                report["exact"] = run("--step", "exact", *common)
            if not folder.exists():
                report["build"] = run("--step", "build", *common)
            report["search"] = run("--step", "search", *common)
            print(json.dumps(report), flush=True)
            if not given.keep:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
