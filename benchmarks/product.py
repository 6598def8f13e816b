"""What a user of the installed command waits for, in seconds of the processor, and what it takes.

Every figure is that of commands in processes of their own, held to one processor and one thread:
user and system time together, and the peak of resident memory. Photos are crops of those in a
folder, and each command sees them for the first time but for the system's file cache. With
--against, the commands of an older installation run in turns with these, and the last column says
how many times as fast or as small these are. Times are the least of the rounds, as other programs
only ever add to them; memory is the most. Needs Linux or macOS.

Run: make bench, or
python benchmarks/product.py [--against PYTHON] [--photos FOLDER] [--count N] [--rounds N]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = (224, 224)
LARGE = (4000, 3000)
"""12 megapixels, as a telephone takes them."""
LARGE_SHARE = 5
"""One photo of 12 megapixels for so many small ones."""
QUERY = "a dog runs through the grass"
ONE_THREAD = ("OMP", "MKL", "OPENBLAS", "VECLIB", "NUMEXPR")
MAX_RSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Usage(NamedTuple):
    """What a command took."""

    seconds: float
    """Of the processor, user and system."""
    memory: float
    """The peak of resident memory, in MB."""


class Side(NamedTuple):
    """An installation of mrnn: a name and its Python."""

    name: str
    python: str
    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> Usage:
        """`mrnn` with these arguments, which must succeed."""
        command = [self.python, "-m", "mrnn", *map(str, arguments)]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=self.environment
            )
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                output.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{output.read().decode(errors='replace')}")
        process.returncode = 0  # or the object would wait for a process that is gone
        megabytes = usage.ru_maxrss * MAX_RSS_BYTES / 2**20
        return Usage(usage.ru_utime + usage.ru_stime, megabytes)


def crops(source: Path, count: int) -> Iterator[Image.Image]:
    """So many RGB images: the photos of a folder, and from the second time on parts of them."""
    files = sorted(f for f in source.iterdir() if f.suffix in (".jpg", ".jpeg", ".png"))[:count]
    if not files:
        sys.exit(f"{source}: no .jpg or .png in this folder; name another with --photos")
    generator = np.random.default_rng(0)
    for place in range(count):
        with Image.open(files[place % len(files)]) as image:
            photo = image.convert("RGB")
        if place >= len(files):
            share = generator.uniform(0.6, 0.95)
            width, height = int(photo.width * share), int(photo.height * share)
            left = int(generator.integers(photo.width - width + 1))
            top = int(generator.integers(photo.height - height + 1))
            photo = photo.crop((left, top, left + width, top + height))
        yield photo


def write_photos(source: Path, folder: Path, count: int, size: tuple[int, int]) -> Path:
    """A folder of so many JPEG files of one size."""
    folder.mkdir()
    for place, photo in enumerate(crops(source, count)):
        resized = photo.resize(size, Image.Resampling.BICUBIC)
        resized.save(folder / f"photo-{place:04}.jpg", quality=92)
    return folder


def measure(side: Side, small: Path, large: Path, folder: Path) -> dict[str, float]:
    """One round of one side: each figure by its name."""
    one, few = sorted(small.iterdir())[0], len(list(large.iterdir()))
    many, index = len(list(small.iterdir())), folder / "photos.index"
    cold = side.run("caption", one)
    captioned = side.run("caption", small)
    captioned_large = side.run("caption", large)
    indexed = side.run("index", small, "--out", index)
    searched = side.run("search", index, QUERY)
    return {
        "mrnn caption of one photo, from a cold command, s": cold.seconds,
        f"mrnn caption of {many} photos of 224 x 224, ms a photo": 1000 * captioned.seconds / many,
        f"mrnn caption of {few} photos of 12 megapixels, ms a photo": (
            1000 * captioned_large.seconds / few
        ),
        f"mrnn caption of {many} photos, peak memory, MB": captioned.memory,
        f"mrnn index of {many} photos, ms a photo": 1000 * indexed.seconds / many,
        "mrnn search, from a cold command, s": searched.seconds,
    }


def best_of(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The least time of all rounds, and the most memory."""
    return {
        name: (max if "memory" in name else min)(each[name] for each in rounds)
        for name in rounds[0]
    }


def size_of(folder: Path) -> float:
    """MB that the files of a folder take on disk, as `du` counts."""
    blocks = {(s.st_dev, s.st_ino): s.st_blocks for s in map(os.lstat, folder.rglob("*"))}
    return sum(blocks.values()) * 512 / 2**20


def sizes_of_wheel(wheel: Path, folder: Path) -> dict[str, float]:
    """The wheel, and a new venv with it and what it needs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    program = folder / "bin" / "python"
    start = time.perf_counter()
    subprocess.run([program, "-m", "pip", "install", "--quiet", wheel], check=True)
    seconds = time.perf_counter() - start
    return {
        "the wheel, MB": wheel.stat().st_size / 2**20,
        "a venv with it, MB": size_of(folder),
        "pip install into it, s on the clock": seconds,
    }


def sizes_of_installation(python: str) -> dict[str, float]:
    """Those of a venv that is there."""
    code = "import sys; print(sys.prefix)"
    prefix = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return {"a venv with it, MB": size_of(Path(prefix.stdout.strip()))}


def table(sides: Sequence[Side], figures: Sequence[dict[str, float]]) -> str:
    """As Markdown; with two sides the second one's figure over the first one's."""
    two = len(sides) == 2
    head = ["one processor", *(side.name for side in sides), *(["ratio"] if two else [])]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in figures[0]:
        found = [each.get(name) for each in figures]
        cells = ["" if value is None else written(value) for value in found]
        if two:
            new, old = found
            cells.append(f"{old / new:.1f}" if new and old else "")
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(value: float) -> str:
    """A figure with three digits, or all that it has before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def hold_to_one_processor() -> None:
    """Itself and the commands that it starts, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="PYTHON", help="that of an older installation")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of photos")
    parser.add_argument("--count", type=int, default=50, help="photos of 224 x 224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wheel", type=Path, help="measure its size and a venv's with it, too")
    arguments = parser.parse_args()
    environment = os.environ | {f"{library}_NUM_THREADS": "1" for library in ONE_THREAD}
    sides = [Side("this", sys.executable, environment)]
    if arguments.against:  # PYTHONPATH would lead it to the source of this one
        own = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
        sides.append(Side("the other", arguments.against, own))
    hold_to_one_processor()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        few = max(1, arguments.count // LARGE_SHARE)
        small = write_photos(arguments.photos, work / "small", arguments.count, SMALL)
        large = write_photos(arguments.photos, work / "large", few, LARGE)
        rounds: list[list[dict[str, float]]] = [[] for _ in sides]
        for side in sides:
            side.run("caption", next(small.iterdir()))  # bytecode is written, files are cached
        for turn in range(arguments.rounds):
            for place, side in enumerate(sides):
                folder = work / f"{turn}-{place}"
                folder.mkdir()
                rounds[place].append(measure(side, small, large, folder))
        figures = [best_of(each) for each in rounds]
        if arguments.wheel:
            figures[0] |= sizes_of_wheel(arguments.wheel, work / "venv")
            for side, found in zip(sides[1:], figures[1:], strict=True):
                found |= sizes_of_installation(side.python)
    print(table(sides, figures))


if __name__ == "__main__":
    main()
