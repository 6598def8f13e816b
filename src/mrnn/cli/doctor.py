"""Print what `mrnn` finds on this computer."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from mrnn import __version__
from mrnn.cli.terminal import ModelFolder, say

PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "pillow", "pi-heif"),
    *(
        "safetensors",
        "pydantic",
        "pyarrow",
        "lancedb",
        "torch",
        "onnx",
        "timm",
        "torchvision",
        "pycocoevalcap",
    ),
)
"""Those whose versions matter when something goes wrong."""


def doctor(model: ModelFolder = None) -> None:
    """Print versions, devices, threads and the model, as for a report of a problem."""
    from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint
    from mrnn.model.devices import PROVIDERS, available_devices
    from mrnn.model.threads import thread_count

    say(f"mrnn {__version__}, Python {platform.python_version()}, {platform.platform()}")
    say(f"packages: {', '.join(_versions())}")
    devices = ", ".join(f"{name} ({PROVIDERS[name]})" for name in available_devices())
    say(f"devices for captions and search, by onnxruntime: {devices}")
    if find_spec("torch"):
        from mrnn.training.devices import describe_all

        say(f"devices for training, by PyTorch: {describe_all()}")
    else:
        say("devices for training: none, as PyTorch is not installed (pip install 'mrnn[train]')")
    asked = os.environ.get("OMP_NUM_THREADS")
    say(
        f"threads: {thread_count()} of {os.cpu_count()} processors"
        + (f" (OMP_NUM_THREADS={asked})" if asked else "")
    )
    say(f"text: stdout in {sys.stdout.encoding}, file names in {sys.getfilesystemencoding()}")
    checkpoint = Checkpoint.load(model or DEFAULT_MODEL)
    heads = "with heads" if checkpoint.heads else "without heads"
    say(
        f"model: {checkpoint.folder}, {checkpoint.fingerprint}, "
        f"{len(checkpoint.vocabulary):,} words, {heads}"
    )
    say(f"encoder: {checkpoint.encoder}")


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
