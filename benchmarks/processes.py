"""Words a second of training, by processes, parts of a batch (shares) and threads.

Random captions and features, with the sizes of the recipe `flickr8k`. Each arrangement is started
by torchrun, in turns with the others. The upper quartile of the steps counts, and the most of the
rounds, as other programs only ever take time. Words a second of the processor, of all steps, are
told beside those of the clock: a process that waits for another counts in the latter alone. Run it
on a machine that does nothing else.

Run: python benchmarks/processes.py [--steps N] [--rounds N] [--only 2,2,1 ...]
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from mrnn.model.config import ModelConfig
from mrnn.tokenizer import EncodedCaptions
from mrnn.training.network import network_of
from mrnn.training.optimization import Optimization
from mrnn.training.processes import join_processes
from mrnn.training.recipe import load_recipe
from mrnn.training.shares import Shares, one_thread

ARRANGEMENTS = ("1,1,1", "1,1,2", "1,2,1", "1,2,2", "1,4,1", "1,4,2", "2,2,1", "2,4,1", "4,4,1")
"""Processes, shares, threads of each process."""
VOCABULARY, FEATURE, PHOTOS = 5712, 4160, 2000
WARM_UP = 5
TOLD = re.compile(r"words/s (\S+) of the processor (\S+) exchange (\S+)")


def captions(count: int) -> EncodedCaptions:
    """Random ones, of 6 to 16 words, of photos in turns."""
    random = np.random.default_rng(0)
    lengths = random.integers(6, 17, count)
    sentences = [random.integers(3, VOCABULARY, length) for length in lengths]
    return EncodedCaptions(sentences, np.arange(count) % PHOTOS)


def work(shares: int, steps: int) -> None:
    """Train in this process, together with the others that torchrun started."""
    recipe = load_recipe("flickr8k", [f"training.shares={shares}", "training.epochs=1"])
    torch.manual_seed(0)
    sizes = {"vocabulary_size": VOCABULARY, "image_size": FEATURE}
    network = network_of(ModelConfig(**recipe.model.model_dump(), **sizes))
    features = torch.randn(PHOTOS, FEATURE).half()
    count = recipe.training.batch_size * (steps + WARM_UP)
    with join_processes() as processes, one_thread(shares > 1) as threads:
        dealt = Shares(shares, processes, threads)
        training = Optimization(network, recipe.training, captions(count), features, dealt)
        speeds, words, start, processor, last = [], 0, 0.0, 0.0, time.perf_counter()
        for place, step in enumerate(training.epoch(1, torch.Generator().manual_seed(0))):
            now = time.perf_counter()
            if place >= WARM_UP:
                words += step.words
                speeds.append(step.words / (now - last))
            else:
                start, processor, processes.seconds = now, time.process_time(), 0.0
            last = now
        exchange = processes.seconds / (last - start)
        taken = float(processes.sum([torch.tensor(time.process_time() - processor)])[0])
        if processes.is_first:
            quartile = sorted(speeds)[3 * len(speeds) // 4]
            print(f"words/s {quartile} of the processor {words / taken} exchange {exchange}")


def measured(arrangement: str, steps: int) -> tuple[float, float, float]:
    """Words a second of the clock, of the processor, and the part of time in exchange."""
    processes, shares, threads = arrangement.split(",")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [processes, __file__, "--work", shares, "--steps", str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = TOLD.search(done.stdout)
    if done.returncode or not found:
        sys.exit(f"{arrangement} failed:\n{done.stderr}")
    words, of_processor, exchange = map(float, found.groups())
    return words, of_processor, exchange


def table(found: dict[str, list[tuple[float, float, float]]]) -> Iterator[str]:
    """A line for each arrangement, as Markdown."""
    yield "| processes, shares, threads | words/s | words/s of the processor | exchange |"
    yield "|---|---:|---:|---:|"
    for arrangement, rounds in found.items():
        words, exchange = max(each[0] for each in rounds), min(each[2] for each in rounds)
        of_processor = max(each[1] for each in rounds)
        yield f"| {arrangement} | {words:,.0f} | {of_processor:,.0f} | {exchange:.0%} |"


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="P,S,T", default=ARRANGEMENTS)
    parser.add_argument("--work", type=int, metavar="SHARES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.steps)
        return
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arguments.only}
    for _ in range(arguments.rounds):
        for arrangement, rounds in found.items():
            rounds.append(measured(arrangement, arguments.steps))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
