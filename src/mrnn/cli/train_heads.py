"""Train the heads of a model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import Device, TrainingDevice, needs_torch, progress, say, tell

if TYPE_CHECKING:
    from mrnn.model.heads import Heads
    from mrnn.training.events import HeadsStarted


def train_heads(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    text: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Captions without photos, as mrnn train takes them"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps for each part of the joint embedding [default: 1000]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    device: TrainingDevice = Device.cpu,
) -> None:
    """Train a model's heads: joint embedding, CIDEr and thing predictors, confidence."""
    needs_torch()
    from mrnn.data.dataset import Dataset
    from mrnn.locks import locked_folder
    from mrnn.model.checkpoint import Checkpoint
    from mrnn.training.events import HeadsStarted
    from mrnn.training.heads import save_heads
    from mrnn.training.recipe import HeadOptions, JointEmbeddingOptions

    Checkpoint.load(run, heads=False)  # refuses what is no model, before it is locked
    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    options = HeadOptions(joint_embedding=JointEmbeddingOptions.model_validate(asked))
    with locked_folder(run):
        held_out = Checkpoint.load(run, heads=False).config.held_out
        with heads_progress(HeadsStarted(options.joint_embedding, held_out), device) as advance:
            heads = save_heads(run, Dataset.load(data), options, advance, device, text or ())
    show_heads(run, heads)
    tell(f"Next: mrnn evaluate {run} --data {data} --split dev")


def heads_progress(
    started: "HeadsStarted", device: str
) -> AbstractContextManager[Callable[..., None]]:
    """Progress on stderr; gives what to call for each step."""
    from mrnn.training.devices import describe, find_device

    parts, steps = started.joint_embedding.parts, started.joint_embedding.steps
    tell(f"Training heads: {parts} x {steps:,} steps on {describe(find_device(device))}")
    return progress("Training heads", started.steps)


def show_heads(run: Path, heads: "Heads") -> None:
    """What was made."""
    from mrnn.model.heads import HEADS

    say(
        f"{run / HEADS}: retrieval weights {heads.weights.sentence_to_image:g} (sentence to image) "
        f"and {heads.weights.image_to_sentence:g} (image to sentence) nats per unit of similarity"
    )
    if heads.confidence is None:
        tell("No confidence in captions: hold out photos, as by --set training.held_out=400")
