"""What training tells while it runs."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict


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


class EpochDone(BaseModel):
    """A line of metrics.jsonl."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_perplexity: float
    """Over the epoch, with dropout."""
    dev_perplexity: float
    shuffled_perplexity: float | None
    """Dev's when each caption is given another photo: no higher, and the image is ignored.
    None for a model that sees none, and for a single photo."""
    distinct: float
    """Share of different captions among dev's, by greedy search."""
    bleu_4: float
    cider: float
    best: bool
    words_per_second: float
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What goes wrong, in plain words."""
        found = []
        shuffled = self.shuffled_perplexity
        if shuffled is not None and shuffled < 1.02 * self.dev_perplexity:
            found.append("the model ignores the image: shuffled photos do not raise perplexity")
        if self.distinct < 0.1:
            found.append(f"only {self.distinct:.0%} of the dev captions are distinct")
        return tuple(found)


@dataclass(frozen=True)
class RunFinished:
    """The run is over; the folder holds its best epoch."""

    folder: Path
    best_epoch: int
    best_perplexity: float


Event = RunStarted | StepDone | EpochDone | RunFinished
