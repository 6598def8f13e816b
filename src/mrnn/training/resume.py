"""The training state, and the folder of a run.

RUN/resume/state.safetensors holds all that an interrupted run needs to end as if it had not been
interrupted. It is one file, replaced atomically. RUN/metrics.jsonl has a line an epoch.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrnn.errors import TrainingError, naming
from mrnn.locks import locked_folder
from mrnn.model.checkpoint import CONFIG
from mrnn.model.epochs import METRICS
from mrnn.outputs import write_whole

STATE = Path("resume", "state.safetensors")


@dataclass
class Progress:
    """How far a run is."""

    text_epoch: int = 0
    """Epochs of captions without photos, which come first."""
    epoch: int = 0
    best_epoch: int = 0
    best_perplexity: float = math.inf


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of a run depends on."""

    progress: Progress
    fingerprint: str
    """JSON of the recipe, the encoder, hashes of captions and text, and the device."""
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    """The optimizer's state of each weight, by the weight's index."""
    dropout_rng: Tensor
    """State of PyTorch's global generator for the device, as uint8."""
    batch_rng: Tensor
    """State of the generator that orders the batches."""


def save_state(out: Path, state: TrainingState) -> None:
    """Replace the state that was saved before."""
    tensors = {f"model.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.items()}
    for index, values in state.optimizer.items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in values.items()}
    tensors |= {"rng.dropout": state.dropout_rng, "rng.batches": state.batch_rng}
    metadata = {
        "progress": json.dumps(vars(state.progress)),
        "fingerprint": state.fingerprint,
    }
    file = out / STATE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, save({name: tensor.cpu() for name, tensor in tensors.items()}, metadata))


def load_state(out: Path, fingerprint: str) -> TrainingState:
    """Raises TrainingError for a damaged file, another recipe or other data."""
    try:
        with safe_open(out / STATE, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(
            f"{out / STATE} is damaged ({error}); train into another folder"
        ) from error
    if (started := metadata.get("fingerprint", "{}")) != fingerprint:
        changed = ", ".join(_changed(json.loads(started), json.loads(fingerprint)))
        raise TrainingError(
            f"{out} was started with another recipe or other data (changed: {changed:.100}); "
            "resume with the same ones, or train into another folder"
        )
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        index, _, key = name.partition(".")
        optimizer.setdefault(int(index), {})[key] = tensor
    return TrainingState(
        Progress(**json.loads(metadata["progress"])),
        fingerprint,
        _below("model.", tensors),
        _below("average.", tensors),
        optimizer,
        tensors["rng.dropout"],
        tensors["rng.batches"],
    )


def _changed(before: dict[str, Any], now: dict[str, Any], table: str = "") -> Iterator[str]:
    """The keys whose values differ."""
    for key in {**before, **now}:
        one, two = before.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            yield from _changed(one, two, f"{table}{key}.")
        elif one != two or (key in before) != (key in now):
            yield table + key


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


@contextmanager
def run_folder(out: Path, *, resume: bool) -> Iterator[None]:
    """The folder of a run, made if need be, and kept from other writers.

    Raises TrainingError where a model or something else would be overwritten, or nothing can be
    resumed; DataError where another process writes there.
    """
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file; give a folder to --out")
    with locked_folder(out):
        if not resume and (out / CONFIG).exists():
            raise TrainingError(
                f"{out} already holds a model; add --resume to continue its training, or give "
                "another folder to --out"
            )
        if resume and (out / CONFIG).exists() and not (out / STATE).exists():
            raise TrainingError(
                f"{out} holds a model, but no {STATE} to resume from; give another folder to --out"
            )
        begun = (out / STATE).parent  # from the first moment, so that what is ours is known
        if not (out / CONFIG).exists() and not begun.exists():
            others = [name for name in os.listdir(out) if not name.startswith(".")]
            if others:
                raise TrainingError(
                    f"{out} holds something else, {others[0]!r:.80}; give another folder to --out"
                )
        begun.mkdir(exist_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):  # as it should be, it is not empty
                begun.rmdir()


def add_metrics(out: Path, line: str) -> None:
    """Append the line of an epoch to metrics.jsonl."""
    file = out / METRICS
    with naming(file), file.open("a", encoding="utf-8") as lines:
        lines.write(line + "\n")


def cut_metrics(out: Path, epochs: int) -> None:
    """Keep the lines of the first epochs; the others will be trained again."""
    file = out / METRICS
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        write_whole(file, "".join(lines[:epochs]))
