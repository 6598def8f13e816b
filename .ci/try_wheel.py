"""Installs the wheel in dist/ as a user would, without torch, and captions a photo with it.

Run: make build. Prints what the wheel, the sdist and the environment take. Fails if one of the two
files is too large, if torch came along, or if the photo gets no caption.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "examples" / "astronaut.jpg"
MAX_MB = 90
"""Of the wheel, and of the sdist: PyPI takes 100."""


def only(pattern: str) -> Path:
    """The one file in dist/ of that name, of a size that may be uploaded."""
    files = list((ROOT / "dist").glob(pattern))
    if len(files) != 1:
        sys.exit(f"expected one dist/{pattern}, found {len(files)}; run make build")
    size = files[0].stat().st_size / 2**20
    print(f"{files[0].name}: {size:.1f} MB")
    if size > MAX_MB:
        sys.exit(f"{files[0].name} is larger than {MAX_MB} MB")
    return files[0]


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints; it must succeed, and sees neither this checkout nor PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def try_wheel(wheel: Path, folder: Path) -> None:
    """In an environment below the folder."""
    start = time.monotonic()
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "-c", constraints, wheel, folder=folder)
    seconds = time.monotonic() - start
    size = sum(file.lstat().st_size for file in (folder / "venv").rglob("*")) / 2**20
    print(f"a fresh environment with it: {size:.0f} MB, made in {seconds:.0f} s")
    check = "import importlib.util; print(importlib.util.find_spec('torch'))"
    if run(python, "-c", check, folder=folder).strip() != "None":
        sys.exit("the base installation brings torch")
    found = json.loads(run(python, "-m", "mrnn", "caption", PHOTO, "--json", folder=folder))
    print(f"{PHOTO.name}: {found['captions'][0]['text']}")


def main() -> None:
    """Both files are looked at, and the wheel is tried."""
    only("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(only("*.whl"), Path(folder))


if __name__ == "__main__":
    main()
