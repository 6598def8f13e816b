"""What serving costs: time to start, one small photo, many photos, a thousand requests at once.

Run: PYTHONPATH=. .venv/bin/python benchmarks/serve.py [--photos FOLDER] [--crowd 1000]
The sides of a comparison take turns, so that a busy machine slows both.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mrnn.captioning.captioner import Captioner
from mrnn.data.photos.paths import find_images
from tests.server.crowd import ask_at_once

ROOT = Path(__file__).resolve().parents[1]
MRNN = (sys.executable, "-m", "mrnn")


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """A server as a process, its port, and the seconds until it answered."""
    start = time.perf_counter()
    command = [*MRNN, "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout
    found = re.search(r":(\d+)/", process.stdout.readline())
    assert found, "the server did not start"
    port = int(found[1])
    urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").read()
    try:
        yield process, port, time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


def memory(process: subprocess.Popen[str], field: str) -> float:
    """VmRSS or VmHWM (the peak) of a process, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def starts(times: int) -> None:
    """Seconds from the command until /healthz answers."""
    seconds = []
    for _ in range(times):
        with serving() as (_process, _port, took):
            seconds.append(took)
    listed = " ".join(f"{each:.2f}" for each in seconds)
    print(f"start: median {statistics.median(seconds):.2f} s ({listed})")


def one_photo(photo: Path, times: int) -> None:
    """An idle server against the bare captioner, in turns."""
    captioner, content = Captioner.load(), photo.read_bytes()
    bare, served = [], []
    with serving() as (process, port, _):
        for place in range(times + 1):
            start = time.perf_counter()
            captioner.caption(content)
            between = time.perf_counter()
            status, _answer = ask_at_once(port, [content])[0]
            end = time.perf_counter()
            assert status == 200
            if place:  # the first warms up
                bare.append(between - start)
                served.append(end - between)
        one, other = statistics.median(bare), statistics.median(served)
        print(f"one photo: bare {one:.3f} s, served {other:.3f} s, {other / one:.2f} times")
        print(f"memory of the idle server: {memory(process, 'VmRSS'):.0f} MB")


def many_photos(photos: list[Path]) -> None:
    """Photos a second of `mrnn caption`, its start taken off, and of the server."""
    with tempfile.TemporaryDirectory() as folder, serving() as (_process, port, _):
        seconds = {}
        for count in (1, len(photos)):
            start = time.perf_counter()
            out = f"{folder}/{count}.jsonl"
            command = [*MRNN, "caption", *map(str, photos[:count]), "--out", out]
            subprocess.run(command, check=True, capture_output=True)
            seconds[count] = time.perf_counter() - start
        command_rate = (len(photos) - 1) / (seconds[len(photos)] - seconds[1])
        start = time.perf_counter()
        answers = ask_at_once(port, [photo.read_bytes() for photo in photos])
        rate = len(photos) / (time.perf_counter() - start)
        assert all(status == 200 for status, _ in answers)
        print(f"{len(photos)} photos: command {command_rate:.2f} a second, served {rate:.2f}")


def crowd(photo: Path, count: int) -> None:
    """So many requests at once, by greedy search."""
    content = photo.read_bytes()
    with serving() as (process, port, _):
        path = "/v1/caption?beam_size=1"
        alone = ask_at_once(port, [content], path)[0]
        start = time.perf_counter()
        answers = ask_at_once(port, [content] * count, path)
        seconds = time.perf_counter() - start
        wrong = sum(answer != alone and answer[0] != 503 for answer in answers)
        statuses = dict(Counter(status for status, _ in answers))
        peak = memory(process, "VmHWM")
        print(f"{count} at once: {statuses}, {wrong} wrong, {seconds:.0f} s, peak {peak:.0f} MB")


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=ROOT / "examples")
    parser.add_argument("--crowd", type=int, default=1000)
    parser.add_argument("--times", type=int, default=15)
    given = parser.parse_args()
    small = ROOT / "examples" / "coffee.jpg"
    starts(3)
    one_photo(small, given.times)
    many_photos(list(find_images([given.photos]))[:60])
    crowd(small, given.crowd)


if __name__ == "__main__":
    main()
