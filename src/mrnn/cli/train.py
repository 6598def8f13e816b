"""Train a model, with progress."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import Device, Pace, TrainingDevice, bar, needs_torch, say, tell
from mrnn.cli.train_heads import heads_progress, show_heads
from mrnn.errors import MRNNError, OptionsError, counted

if TYPE_CHECKING:
    from mrnn.model.epochs import EpochDone
    from mrnn.training.events import (
        Event,
        HeadsStarted,
        RunFinished,
        RunStarted,
        TextEpochDone,
        TextStarted,
    )
    from mrnn.training.processes import Processes


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one that ships")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    out: Annotated[Path, typer.Option(help="The folder of the trained model")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe: --set training.epochs=3"
        ),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Learn first from captions without photos: .txt, .tsv, .csv, or these and .gz",
        ),
    ] = None,
    device: TrainingDevice = Device.cpu,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the figures for TensorBoard too")
    ] = False,
) -> None:
    """Train a model by a recipe, its heads included; the best epoch on dev is kept.

    Several processes train one model: torchrun --nproc-per-node 2 -m mrnn train flickr8k ...
    """
    needs_torch()
    from mrnn.training.processes import join_processes

    with join_processes() as processes, _told_once(processes):
        from mrnn.data.dataset import Dataset
        from mrnn.training.recipe import load_recipe
        from mrnn.training.train import train as train_model

        if resume and not out.exists():
            raise OptionsError(
                f"{out} does not exist, so no run can go on there; leave out --resume"
            )
        loaded, dataset = load_recipe(recipe, settings or ()), Dataset.load(data)
        heads = _HeadsProgress(device)
        events = train_model(
            loaded, dataset, out, text=text or (), device=device, resume=resume,
            processes=processes, on_head_step=heads.advance,
        )  # fmt: skip
        if not processes.is_first:
            for _ in events:
                pass
            return
        if tensorboard:
            from mrnn.training.tensorboard import log_to_tensorboard

            folder = out / "tensorboard"
            events = log_to_tensorboard(events, folder)
            tell(f"Figures go to {folder}; look at them with: tensorboard --logdir {folder}")
        _show_training(events, heads)
    captioning = _captioning(loaded.encoder.name, out)
    tell(f"Next: mrnn evaluate {out} --data {data} --split dev{captioning}")


@contextmanager
def _told_once(processes: "Processes") -> Iterator[None]:
    """Of several processes that fail, only the first ends with a message."""
    try:
        yield
    except (MRNNError, OSError):
        if processes.is_first_to_tell():
            raise
        raise typer.Exit(1) from None


class _HeadsProgress:
    """Progress of the heads, once their training has started."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._shown = ExitStack()
        self._advance: Callable[..., None]

    def start(self, event: "HeadsStarted") -> None:
        """Show it."""
        self._advance = self._shown.enter_context(heads_progress(event, self._device))

    def advance(self) -> None:
        """For each step."""
        self._advance()

    def stop(self) -> None:
        """Show it no more."""
        self._shown.close()


def _show_training(events: Iterable["Event"], heads: _HeadsProgress) -> None:
    """Epochs on stdout; on stderr a bar, or a line now and then where that is no terminal."""
    from rich.progress import TaskID, TextColumn

    from mrnn.model.epochs import EpochDone
    from mrnn.training.events import (
        HeadsDone,
        HeadsStarted,
        RunFinished,
        RunStarted,
        StepDone,
        TextEpochDone,
    )

    started, pace = time.monotonic(), Pace()
    words, done, total, task = 0, 0, 0, TaskID(0)
    with bar(TextColumn("{task.fields[speed]}")) as shown:
        for event in events:
            match event:
                case RunStarted():
                    tell(_start_line(event))
                    if event.text:
                        tell(_text_line(event.text))
                    total, done = event.steps, event.done_steps
                    task = shown.add_task("Training", total=total, completed=done, speed="")
                    started = time.monotonic()
                case StepDone():
                    done, words = done + 1, words + event.words
                    speed = words / (time.monotonic() - started)
                    text = f"{speed:,.0f} words/s, {event.bits:.2f} bits a word"
                    shown.update(task, advance=1, speed=text)
                    if shown.disable and pace.is_due():
                        tell(f"Training: step {done:,} of {total:,}, {text}")
                case TextEpochDone():
                    say(_text_epoch_line(event))
                case EpochDone():
                    say(_epoch_line(event))
                    for warning in event.warnings:
                        tell(f"Warning: {warning}")
                case RunFinished():
                    shown.stop()
                    say(_end_line(event))

                case HeadsStarted():
                    heads.start(event)
                case HeadsDone():
                    heads.stop()
                    show_heads(event.folder, event.heads)


def _end_line(run: "RunFinished") -> str:
    exchange = f", {run.communication:.0%} of the time for exchange between processes"
    return (
        f"{run.folder}: the model of epoch {run.best_epoch}, "
        f"dev perplexity {run.best_perplexity:.2f}" + (exchange if run.communication else "")
    )


def _start_line(run: "RunStarted") -> str:
    device = run.device if run.processes == 1 else f"{run.processes} x {run.device}"
    return (
        f"{run.parameters:,} weights, {run.vocabulary_size:,} words, {run.precision} on {device}. "
        f"Writing to {run.folder}; stop with Ctrl-C, go on with --resume"
    )


def _text_line(text: "TextStarted") -> str:
    left_out = f"; left out: {text.left_out:,} of photos that are not trained on"
    captions, epochs = counted(text.captions, "caption"), counted(text.epochs, "epoch")
    return f"Text first: {captions} without photos, {epochs}{left_out if text.left_out else ''}"


def _captioning(encoder: str, out: Path) -> str:
    """The command that captions photos by the new model, if its encoder makes features of them."""
    from mrnn.model.image_encoder import AT, JOINT, is_encoder, shipped_encoders

    if not is_encoder(encoder):
        return ""
    ships = {part.partition(AT)[0] for part in encoder.split(JOINT)} <= set(shipped_encoders())
    return f"; mrnn caption PHOTO --model {out}" + ("" if ships else " --encoder-file FILE")


def _text_epoch_line(epoch: "TextEpochDone") -> str:
    return (
        f"text {epoch.epoch}/{epoch.epochs}  perplexity: text {epoch.train_perplexity:.2f}, "
        f"dev without photos {epoch.dev_perplexity:.2f}  {epoch.words_per_second:,.0f} words/s"
    )


def _epoch_line(epoch: "EpochDone") -> str:
    other = epoch.shuffled_perplexity
    shuffled = "" if other is None else f" (with other photos {other:.1f})"
    return (
        f"epoch {epoch.epoch:>2}  perplexity: train {epoch.train_perplexity:.2f}, "
        f"dev {epoch.dev_perplexity:.2f}{shuffled}  "
        f"greedy: BLEU-4 {epoch.bleu_4:.3f}, CIDEr {epoch.cider:.3f}, "
        f"{epoch.distinct:.0%} distinct  {epoch.words_per_second:,.0f} words/s"
        + ("  *" if epoch.best else "")
    )
