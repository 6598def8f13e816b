"""What a training run leaves in RUN/ beside its best checkpoint.

resume/state.safetensors is all that an interrupted run needs to end as if it had not been, in one
file that is replaced at once. metrics.jsonl has a line an epoch.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrnn.errors import TrainingError
from mrnn.files import naming, write_whole
from mrnn.model.checkpoint import CONFIG
from mrnn.model.epochs import METRICS

RESUME = Path("resume", "state.safetensors")


@dataclass
class Progress:
    """Where a run stands: what is neither weights nor the optimizer's."""

    epoch: int = 0
    best_epoch: int = 0
    best_perplexity: float = math.inf


@dataclass(frozen=True)
class SavedRun:
    """All that decides the rest of a run."""

    progress: Progress
    fingerprint: str
    """Of the recipe and the data."""
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    """What it remembers of each weight, in the order of the weights."""
    dropout_state: Tensor
    """Of the global random generator, as uint8."""
    batches_state: Tensor
    """Of the generator that orders the batches."""


def save_run(out: Path, run: SavedRun) -> None:
    """Replaces what was saved before."""
    tensors = {f"model.{name}": tensor for name, tensor in run.weights.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in run.average.items()}
    for index, state in run.optimizer.items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    tensors |= {"random.dropout": run.dropout_state, "random.batches": run.batches_state}
    metadata = {
        "progress": json.dumps(vars(run.progress)),
        "recipe": run.fingerprint,
    }
    file = out / RESUME
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, save(tensors, metadata))


def load_run(out: Path, fingerprint: str) -> SavedRun:
    """Refuses a damaged file, and one of another recipe or other data."""
    try:
        with safe_open(out / RESUME, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(
            f"{out / RESUME} is damaged ({error}); train into another folder"
        ) from error
    if (begun := metadata.get("recipe", "{}")) != fingerprint:
        changed = ", ".join(_changed(json.loads(begun), json.loads(fingerprint)))
        raise TrainingError(
            f"{out} was begun with another recipe or other data ({changed}); "
            "go on with those, or train into another folder"
        )
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        index, _, key = name.partition(".")
        optimizer.setdefault(int(index), {})[key] = tensor
    return SavedRun(
        Progress(**json.loads(metadata["progress"])),
        fingerprint,
        _below("model.", tensors),
        _below("average.", tensors),
        optimizer,
        tensors["random.dropout"],
        tensors["random.batches"],
    )


def _changed(before: dict[str, Any], now: dict[str, Any], table: str = "") -> Iterator[str]:
    """The keys whose values differ."""
    for key in {**before, **now}:
        one, two = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            yield from _changed(one, two, f"{table}{key}.")
        elif one != two or (key in before) != (key in now):
            yield "other captions" if key == "captions" else table + key


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def check_folder(out: Path, *, resume: bool) -> None:
    """Makes the folder. Refuses one whose model would be written over."""
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; give a folder to --out")
    if not resume and (out / CONFIG).exists():
        raise TrainingError(
            f"{out} already holds a model; add --resume to go on, or give another folder to --out"
        )
    if resume and (out / CONFIG).exists() and not (out / RESUME).exists():
        raise TrainingError(
            f"{out} holds a model, but no {RESUME} to go on from; give another folder to --out"
        )
    out.mkdir(parents=True, exist_ok=True)


def add_metrics(out: Path, line: str) -> None:
    """The line of an epoch."""
    file = out / METRICS
    with naming(file), file.open("a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def cut_metrics(out: Path, epochs: int) -> None:
    """Forget the lines of epochs that will be trained again."""
    file = out / METRICS
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        write_whole(file, "".join(lines[:epochs]))
