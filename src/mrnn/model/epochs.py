"""RUN/metrics.jsonl: a line an epoch of a model's training."""

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mrnn.errors import DataError, OptionsError
from mrnn.files import read_plain

METRICS = "metrics.jsonl"
MEND = "move the file away for a report without the training curve"


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
    def is_finite(self) -> bool:
        """Whether no figure is infinite or no number."""
        figures = self.model_dump(exclude_none=True).values()
        return all(math.isfinite(each) for each in figures)

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
    try:
        lines = read_plain(file).splitlines()
    except DataError as error:
        raise OptionsError(f"{error}; {MEND}") from None
    epochs = []
    for number, line in enumerate(lines, start=1):
        try:
            done = EpochDone.model_validate_json(line, strict=True)
        except ValidationError:
            done = None
        if done is None or done.epoch < 1 or not done.is_finite:
            raise OptionsError(f"{file}:{number} is not what mrnn train writes; {MEND}")
        epochs.append(done)
    return tuple(epochs)
