"""How much faster commands work on two processors than on one, by the clock.

Each command runs in turns on one processor and on two, with all photos and with a few, so that the
time of the start can be taken off. The least time of the rounds counts, as other programs only ever
add to it; their part of the processors is told. Results of one and of two processors are compared
byte by byte. Needs Linux, and a machine that does nothing else.

Run: python benchmarks/cores.py [--photos FOLDER] [--count N] [--rounds N] [--only caption]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW = 4
"""Photos of a run that is nearly all start."""
COMMANDS = ("caption", "index", "extract")
NO_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Run(NamedTuple):
    """What a command took."""

    seconds: float
    """On the clock."""
    processor: float
    """Seconds of all processors, user and system."""
    others: float
    """The part of the processors that other programs had, 0 to 1."""
    result: bytes


def busy() -> float:
    """Seconds that all processors have worked since the machine started."""
    user, nice, system, _, _, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def run(command: str, photos: Path, processors: list[int], folder: Path) -> Run:
    """One command on these processors, which must succeed."""
    result = folder / "result"
    arguments = {
        "caption": ["caption", photos, "--json"],
        "index": ["index", photos, "--out", folder / "index"],
        "extract": ["extract", folder / "data"],
    }[command]
    if command == "extract":
        lines = "".join(f"{photo.name}\ta photo\n" for photo in sorted(photos.iterdir()))
        (folder / "captions.tsv").write_text(f"image\tcaption\n{lines}")
        prepare = ["prepare", "table", folder / "captions.tsv", "--images", photos]
        started([*prepare, "--out", folder / "data"], processors, result)
    before, start = busy(), time.perf_counter()
    own = started(arguments, processors, result)
    seconds = time.perf_counter() - start
    others = max(0.0, busy() - before - own) / (seconds * (os.cpu_count() or 1))
    content = result.read_bytes() if command == "caption" else features_in(folder)
    return Run(seconds, own, others, content)


def started(arguments: list[str | Path], processors: list[int], result: Path) -> float:
    """Seconds of the processors that `mrnn` took; stdout goes to a file."""
    environment = {name: value for name, value in os.environ.items() if name not in NO_LIMITS}
    command = [sys.executable, "-m", "mrnn", *map(str, arguments)]
    os.sched_setaffinity(0, processors)
    with result.open("wb") as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # or the object would wait for a process that is gone
        if status:
            errors.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{errors.read().decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime


def features_in(folder: Path) -> bytes:
    """All tensors that a command wrote."""
    files = sorted(folder.rglob("shard-*.safetensors"))
    if not files:
        sys.exit(f"{folder}: no features were written")
    return b"".join(file.read_bytes() for file in files)


def linked(source: Path, folder: Path, count: int) -> Path:
    """A folder of so many photos; those of the source come again until there are enough."""
    files = sorted(f for f in source.iterdir() if f.suffix in (".jpg", ".jpeg", ".png"))
    if not files:
        sys.exit(f"{source}: no .jpg or .png in this folder; name another with --photos")
    folder.mkdir()
    for place in range(count):
        file = files[place % len(files)]
        shutil.copyfile(file, folder / f"{place:04}{file.suffix}")
    return folder


def main() -> None:
    """A line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of photos")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=COMMANDS, action="append", default=[])
    arguments = parser.parse_args()
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        sys.exit("this process may use one processor only; two are needed")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photos = linked(arguments.photos, work / "photos", arguments.count)
        few = linked(arguments.photos, work / "few", FEW)
        for command in arguments.only or COMMANDS:
            found: dict[tuple[int, bool], list[Run]] = {}
            for turn in range(arguments.rounds):
                for processors in (there[:1], there[:2]):
                    for all_of_them in (True, False):
                        folder = work / f"{command}-{turn}-{len(processors)}-{all_of_them}"
                        folder.mkdir()
                        found.setdefault((len(processors), all_of_them), []).append(
                            run(command, photos if all_of_them else few, processors, folder)
                        )
            tell(command, arguments.count, found)


def tell(command: str, count: int, found: dict[tuple[int, bool], list[Run]]) -> None:
    """The least times of the rounds, and what follows from them."""
    best = {key: min(runs) for key, runs in found.items()}
    one, two, one_few, two_few = (
        best[key] for key in ((1, True), (2, True), (1, False), (2, False))
    )
    same = len({each.result for key in ((1, True), (2, True)) for each in found[key]}) == 1
    rest = (one.seconds - one_few.seconds) / (two.seconds - two_few.seconds)
    print(
        f"mrnn {command} of {count} photos: {one.seconds:.2f} s on one processor, "
        f"{two.seconds:.2f} s on two: {one.seconds / two.seconds:.2f} times the photos/s, "
        f"{rest:.2f} without the start ({one_few.seconds:.2f} and {two_few.seconds:.2f} s with "
        f"{FEW} photos). Seconds of the processor: {one.processor:.2f} and {two.processor:.2f}. "
        f"Other programs had {one.others:.0%} and {two.others:.0%}. "
        f"Results {'are the same bytes' if same else 'DIFFER'}.",
        flush=True,
    )


if __name__ == "__main__":
    main()
