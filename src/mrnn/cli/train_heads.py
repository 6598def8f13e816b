"""Train the heads of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import Device, TrainingDevice, needs_torch, progress, tell

if TYPE_CHECKING:
    from mrnn.data.dataset import Dataset
    from mrnn.training.recipe import HeadOptions


def train_heads(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
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
    from mrnn.training.recipe import HeadOptions, JointEmbeddingOptions

    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    options = HeadOptions(joint_embedding=JointEmbeddingOptions.model_validate(asked))
    save_heads(run, Dataset.load(data), options, device=device)
    tell(f"Next: mrnn evaluate {run} --data {data} --split dev")


def save_heads(
    run: Path,
    dataset: "Dataset",
    options: "HeadOptions",
    device: Device = Device.cpu,
) -> None:
    """Train the heads and write them to the run's folder, with progress on stderr."""
    from mrnn.model.checkpoint import Checkpoint
    from mrnn.model.heads import HEADS
    from mrnn.training.devices import describe, find_device
    from mrnn.training.heads import train_heads as train

    there = describe(find_device(device))
    checkpoint = Checkpoint.load(run)
    joint_embedding = options.joint_embedding
    tell(f"Training heads: {joint_embedding.parts} x {joint_embedding.steps:,} steps on {there}")
    steps = joint_embedding.parts * joint_embedding.steps + checkpoint.config.held_out
    with progress("Training heads", steps) as advance:
        heads = train(checkpoint, dataset, options, advance, device)
    heads.save(run, checkpoint.fingerprint)
    print(
        f"{run / HEADS}: retrieval weights {heads.weights.sentence_to_image:g} (sentence to image) "
        f"and {heads.weights.image_to_sentence:g} (image to sentence) nats per unit of similarity"
    )
    if heads.confidence is None:
        tell("No confidence in captions: hold out photos, as by --set training.held_out=400")
