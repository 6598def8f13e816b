"""RUN/metrics.jsonl: a line an epoch of a model's training."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.errors import OptionsError

METRICS = "metrics.jsonl"


class EpochDone(BaseModel):
    """One epoch: a line of the file."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_perplexity: float
    """Over the epoch, with dropout."""
    dev_perplexity: float
    shuffled_perplexity: float | None
    """Dev's when each caption is given another photo: if it is no higher, the model ignores photos.
    None for a model without images, and for a single photo."""
    distinct: float
    """Fraction of different captions among dev's, by greedy search."""
    bleu_4: float
    cider: float
    best: bool
    words_per_second: float
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for people."""
        found = []
        shuffled = self.shuffled_perplexity
        if shuffled is not None and shuffled < 1.02 * self.dev_perplexity:
            found.append("the model ignores the image: shuffled photos do not raise perplexity")
        if self.distinct < 0.1:
            found.append(f"only {self.distinct:.0%} of the dev captions are distinct")
        return tuple(found)


def read_epochs(run: Path) -> tuple[EpochDone, ...]:
    """The epochs of a run; none if it has no such file. Raises OptionsError for another file."""
    file = run / METRICS
    if not file.exists():
        return ()
    epochs = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            epochs.append(EpochDone.model_validate_json(line))
        except ValidationError:
            raise OptionsError(
                f"{file}:{number} is not what mrnn train writes; move the file away for a report "
                "without the training curve"
            ) from None
    return tuple(epochs)
