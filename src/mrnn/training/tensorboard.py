"""Figures of a training run for TensorBoard."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mrnn.errors import MissingExtraError
from mrnn.model.epochs import EpochDone
from mrnn.training.events import Event, RunStarted, StepDone, TextEpochDone

FIGURES = (
    *("train_perplexity", "dev_perplexity", "shuffled_perplexity"),
    *("bleu_4", "cider", "distinct", "words_per_second"),
)
TEXT_FIGURES = ("train_perplexity", "dev_perplexity")
STEPS_A_POINT = 10


def log_to_tensorboard(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Yield the events, and write their figures to `folder`, by step; those of text come first.

    A resumed run removes the figures of the epoch that was interrupted. Raises MissingExtraError
    where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError(
            "TensorBoard is not installed. Run: pip install 'mrnn[tensorboard]'"
        ) from None
    step, writer = 0, None
    try:
        for event in events:
            match event:
                case RunStarted():
                    step = event.done_steps
                    writer = SummaryWriter(folder, purge_step=step + 1)
                case StepDone():
                    step += 1
                    if writer and step % STEPS_A_POINT == 0:
                        writer.add_scalar("bits_a_word", event.bits, step)
                case TextEpochDone():
                    for name in TEXT_FIGURES:
                        if writer:
                            writer.add_scalar(f"text/{name}", getattr(event, name), step)
                case EpochDone():
                    for name in FIGURES:
                        value = getattr(event, name)
                        if writer and value is not None:
                            writer.add_scalar(name, value, step)
                    if writer:
                        writer.flush()
            yield event
    finally:
        if writer:
            writer.close()
