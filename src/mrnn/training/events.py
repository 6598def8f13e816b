"""The events that a training run yields."""

from dataclasses import dataclass
from pathlib import Path

from mrnn.model.epochs import EpochDone
from mrnn.model.heads import Heads
from mrnn.training.recipe import JointEmbeddingOptions


@dataclass(frozen=True)
class TextStarted:
    """What a run learns from captions without photos, before the pairs."""

    captions: int
    left_out: int
    """Captions of photos that are not trained on, which the text has too."""
    epochs: int
    steps_per_epoch: int
    done_epochs: int


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
    device: str = "cpu"
    text: TextStarted | None = None
    processes: int = 1

    @property
    def steps(self) -> int:
        """Of the whole run, those of text included."""
        text = self.text.epochs * self.text.steps_per_epoch if self.text else 0
        return text + self.epochs * self.steps_per_epoch

    @property
    def done_steps(self) -> int:
        """Steps that were done before the run was interrupted."""
        text = self.text.done_epochs * self.text.steps_per_epoch if self.text else 0
        return text + self.done_epochs * self.steps_per_epoch


@dataclass(frozen=True)
class StepDone:
    """One batch was trained on."""

    epoch: int
    bits: float
    """Mean bits a word, without the weight penalty."""
    words: int
    text: bool = False
    """Whether the epoch is one of captions without photos."""


@dataclass(frozen=True)
class TextEpochDone:
    """One epoch of captions without photos."""

    epoch: int
    epochs: int
    train_perplexity: float
    """Over the epoch, with dropout."""
    dev_perplexity: float
    """Of dev's captions without their photos."""
    words_per_second: float


@dataclass(frozen=True)
class RunFinished:
    """The network is trained; the folder holds the model of its best epoch."""

    folder: Path
    best_epoch: int
    best_perplexity: float
    communication: float = 0.0
    """Fraction of the time in which this process exchanged gradients, or waited for them."""


@dataclass(frozen=True)
class HeadsStarted:
    """The training of the heads starts, of a recipe that has them."""

    joint_embedding: JointEmbeddingOptions
    held_out: int

    @property
    def steps(self) -> int:
        """Of each part of the joint embedding, and one for each held-out photo."""
        return self.joint_embedding.parts * self.joint_embedding.steps + self.held_out


@dataclass(frozen=True)
class HeadsDone:
    """The folder holds the heads too."""

    folder: Path
    heads: Heads


Event = RunStarted | StepDone | TextEpochDone | EpochDone | RunFinished | HeadsStarted | HeadsDone
