"""ONNX Runtime for browsers: files of npm's package onnxruntime-web, of one known version."""

import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mrnn.errors import DataError, OptionsError, naming

VERSION = "1.30.0"
PACKAGE = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
RUNTIMES = {
    "wasm": ("ort-wasm-simd-threaded.wasm", "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs"),
    "webgpu": (
        "ort-wasm-simd-threaded.jsep.wasm", "ort.min.mjs", "ort-wasm-simd-threaded.jsep.mjs",
    ),
}  # fmt: skip
"""What a browser fetches, by what runs image encoders: code, its loader, and that of threads.

Of the builds with WebGPU this one alone has all operators of the model for the processor too.
"""
CHECKSUMS = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.jsep.wasm": (
        "3ad23231b5bd6d9dda55a7f84606315e0bf35b6750c28ee993c987c54cacab0f"
    ),
    "ort.min.mjs": "0ca19c223d563f244908feb26712f40333980b07576328c8b4a04d132bbf34ad",
    "ort-wasm-simd-threaded.jsep.mjs": (
        "709853412fd1ffc34247af1e73569227b5b79629c5ca3f59cc39cf7e500e4947"
    ),
}
"""SHA-256 of each file."""
LARGEST = 2**26
"""Bytes of the package, and of a file in it."""
SECONDS = 60
MEND = f"get it with: npm pack onnxruntime-web@{VERSION}, and give the file by --ort"


def read_runtime(source: Path | None, tell: Callable[[str], None]) -> dict[str, bytes]:
    """The files by name: from a package's file or folder, or else from npm's registry.

    Raises OptionsError for a source without them or of another version, DataError without a
    network.
    """
    if source is None:
        tell(f"Fetching onnxruntime-web {VERSION}, 33 MB, from {PACKAGE}")
        return _checked(_of_package(io.BytesIO(_fetch()), PACKAGE), PACKAGE)
    if source.is_dir():
        return _checked(_of_folder(source), f"--ort {source}")
    if not source.is_file():
        raise OptionsError(f"--ort {source} does not exist; {MEND}")
    with naming(source), source.open("rb") as stream:
        return _checked(_of_package(stream, f"--ort {source}"), f"--ort {source}")


def _fetch() -> bytes:
    try:
        with urllib.request.urlopen(PACKAGE, timeout=SECONDS) as answer:
            content: bytes = answer.read(LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{PACKAGE} cannot be fetched ({reason!s:.60}); {MEND}") from None
    return content


def _of_package(stream: io.BufferedIOBase, name: str) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:gz") as package:
            for member in package:
                file = member.name.removeprefix("package/dist/")
                if file in CHECKSUMS and member.isfile() and member.size <= LARGEST:
                    content = package.extractfile(member)
                    found[file] = content.read() if content else b""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise OptionsError(f"{name} is no package of npm ({error!s:.60}); {MEND}") from None
    return found


def _of_folder(folder: Path) -> dict[str, bytes]:
    """Of the package's folder, of its dist/, or of a folder with node_modules/."""
    for dist in (folder / "node_modules/onnxruntime-web/dist", folder / "dist", folder):
        if all((dist / file).is_file() for file in CHECKSUMS):
            return {file: (dist / file).read_bytes() for file in CHECKSUMS}
    return {}


def _checked(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    for file, checksum in CHECKSUMS.items():
        if file not in files:
            raise OptionsError(f"{name} has no {file} of onnxruntime-web {VERSION}; {MEND}")
        if hashlib.sha256(files[file]).hexdigest() != checksum:
            raise OptionsError(f"{name}: {file} is not that of onnxruntime-web {VERSION}; {MEND}")
    return files
