"""COCO's size on one machine: 120,000 images and 600,000 captions, prepared, checked and trained.

Everything is synthetic: tiny photos, random words, random features of 4,096 values. Each step runs
in its own process, and its seconds and peak memory are printed (ru_maxrss, which includes pages of
mapped files). Training runs with features on disk and in memory, in turns. Seconds of the processor
are compared, which other programs disturb less. Run: python benchmarks/scale.py FOLDER
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

FEATURE_SIZE = 4096
WORDS = 10_000
ROWS_AT_ONCE = 2_000


def make_source(folder: Path, images: int) -> None:
    """Photos of 8 x 8 pixels, no two alike, and a table of their captions."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    generator = np.random.default_rng(0)
    chances = 1 / np.arange(1, WORDS + 1)
    lengths = generator.integers(8, 15, (images, 5))
    words = generator.choice(WORDS, lengths.sum(), p=chances / chances.sum())
    running = iter([f"w{_letters(word)}" for word in words])
    Image.new("RGB", (8, 8), "red").save(folder / "photo.jpg")
    photo = (folder / "photo.jpg").read_bytes()
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as table:
        for row, counts in enumerate(lengths.tolist()):
            name, split = f"{row:06}.jpg", "dev" if row % 24 == 0 else "train"
            (photos / name).write_bytes(photo + name.encode())  # after its end, so that all differ
            captions = [" ".join(islice(running, count)) for count in counts]
            line = {"image": name, "caption": captions, "split": split}
            table.write(json.dumps(line) + "\n")


def _letters(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def make_features(data: Path) -> None:
    """Random features, written as `mrnn extract` does."""
    from mrnn.data.dataset import Dataset
    from mrnn.data.feature_store.manifest import Manifest
    from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Rows
    from mrnn.data.feature_store.writer import feature_writer
    from mrnn.data.features import features_folder, store_config
    from mrnn.model.config import EncoderIdentity

    dataset = Dataset.load(data)
    identity = EncoderIdentity(
        name="synthetic", layer="none", resize_mode="squash", size=8,
        feature_size=FEATURE_SIZE, weights="0" * 16,
    )  # fmt: skip
    names = tuple(image.name for image in dataset.images)
    generator = np.random.default_rng(0)
    manifest = Manifest(features_folder(dataset, identity), store_config(identity), "run it again")
    with manifest.lock(), feature_writer(manifest) as writer:
        for start in range(0, len(names), ROWS_AT_ONCE):
            some = names[start : start + ROWS_AT_ONCE]
            block = generator.random((len(some), FEATURE_SIZE), np.float32).astype(np.float16)
            stamps = np.full((len(some), STAMP), UNKNOWN)
            writer.write(Rows(some, stamps, {"features": block}))


def train_some(data: Path, out: Path, steps: int, *, in_memory: bool) -> dict[str, float]:
    """Seconds to the first step, and words per second from the tenth; both by the processor too."""
    from mrnn.data.dataset import Dataset
    from mrnn.data.feature_store.store import FeatureStore
    from mrnn.training.events import StepDone
    from mrnn.training.recipe import load_recipe
    from mrnn.training.train import train

    begin = time.perf_counter()  # the processor's seconds include the imports
    if in_memory:
        take, held = FeatureStore.take, {}

        def take_from_memory(store: FeatureStore, column: str, rows: np.ndarray) -> np.ndarray:
            if column not in held:
                held[column] = take(store, column, np.arange(len(store.kept)))
            return held[column][rows]

        FeatureStore.take = take_from_memory
    recipe = load_recipe("paper", ["encoder.name=synthetic"])
    every = (e for e in train(recipe, Dataset.load(data), out) if isinstance(e, StepDone))
    next(every)
    start_up, start_up_cpu = time.perf_counter() - begin, time.process_time()
    for _ in islice(every, 9):
        pass
    start, start_cpu = time.perf_counter(), time.process_time()
    words = sum(event.words for event in islice(every, steps - 10))
    return {
        "start_up": start_up,
        "start_up_cpu": start_up_cpu,
        "words_per_second": words / (time.perf_counter() - start),
        "words_per_cpu_second": words / (time.process_time() - start_cpu),
    }


def measured(what: str, *arguments: str) -> str:
    """Run this program or `mrnn` in a process of its own; its output."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{what} failed: {out}")
    seconds, peak = time.perf_counter() - begin, usage.ru_maxrss / 2**20
    print(f"{what:<22} {seconds:6.1f} s   peak {peak:4.2f} GB", flush=True)
    return out


def main() -> None:
    """All of it, or one step of it in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to put it all; 2 GB")
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder, data = arguments.folder, arguments.folder / "data"
    if arguments.only == "source":
        make_source(folder, arguments.images)
    elif arguments.only == "features":
        make_features(data)
    elif arguments.only:
        out = folder / f"run-{os.getpid()}"
        found = train_some(data, out, arguments.steps, in_memory=arguments.only == "memory")
        status = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
        own = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        print(json.dumps(found | {"own_gb": int(own[0]) / 2**20 if own else None}))
    else:
        run_all(folder, data, arguments)


def run_all(folder: Path, data: Path, arguments: argparse.Namespace) -> None:
    """Every step, each in its own process."""
    itself = (__file__, str(folder), "--images", str(arguments.images), "--steps",
              str(arguments.steps), "--only")  # fmt: skip
    if not folder.exists():
        measured("make the source", *itself, "source")
    mrnn = ("-m", "mrnn")
    source = (str(folder / "captions.jsonl"), "--images", str(folder / "photos"))
    measured("mrnn prepare", *mrnn, "prepare", "table", *source, "--out", str(data))
    print(measured("mrnn check", *mrnn, "check", str(data)).rstrip())
    if not (data / "features").exists():
        measured("make the features", *itself, "features")
    ratios = []
    for _ in range(arguments.turns):
        speeds = {}
        for place in ("disk", "memory"):
            found = json.loads(measured(f"train, from {place}", *itself, place))
            speeds[place] = found["words_per_cpu_second"]
            print(
                f"   first step after {found['start_up']:.1f} s ({found['start_up_cpu']:.1f} s of "
                f"the processor), {found['words_per_second']:,.0f} words/s, "
                f"{speeds[place]:,.0f} words per second of the processor, "
                f"{found['own_gb']:.2f} GB without pages of files"
            )
        ratios.append(speeds["disk"] / speeds["memory"])
    print(f"from disk, of the speed from memory: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
