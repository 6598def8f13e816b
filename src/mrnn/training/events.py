"""What training tells while it runs."""

from dataclasses import dataclass
from pathlib import Path

from mrnn.model.epochs import EpochDone


@dataclass(frozen=True)
class RunStarted:
    """What is about to be trained."""

    folder: Path
    parameters: int
    vocabulary_size: int
    epochs: int
    steps_per_epoch: int
    precision: str
    done_epochs: int
    """Of an interrupted run that this one goes on with."""


@dataclass(frozen=True)
class StepDone:
    """One batch later."""

    epoch: int
    bits: float
    """Mean bits a word, without the regulariser."""
    words: int


@dataclass(frozen=True)
class RunFinished:
    """The run is over; the folder holds its best epoch."""

    folder: Path
    best_epoch: int
    best_perplexity: float


Event = RunStarted | StepDone | EpochDone | RunFinished
