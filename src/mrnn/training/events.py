"""The events that a training run yields."""

from dataclasses import dataclass
from pathlib import Path

from mrnn.model.epochs import EpochDone


@dataclass(frozen=True)
class RunStarted:
    """A run starts, or continues."""

    folder: Path
    parameters: int
    vocabulary_size: int
    epochs: int
    steps_per_epoch: int
    precision: str
    done_epochs: int
    """Epochs that were done before the run was interrupted; 0 for a new run."""


@dataclass(frozen=True)
class StepDone:
    """One batch was trained on."""

    epoch: int
    bits: float
    """Mean bits a word, without the weight penalty."""
    words: int


@dataclass(frozen=True)
class RunFinished:
    """The run is over; the folder holds the model of its best epoch."""

    folder: Path
    best_epoch: int
    best_perplexity: float


Event = RunStarted | StepDone | EpochDone | RunFinished
