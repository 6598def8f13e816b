"""Train the heads of a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrnn.cli.terminal import needs_torch, progress

if TYPE_CHECKING:
    from mrnn.data.dataset import Dataset
    from mrnn.training.recipe import CiderPredictorOptions, JointEmbeddingOptions


def train_heads(
    run: Annotated[Path, typer.Argument(help="A trained model's folder")],
    data: Annotated[Path, typer.Option(help="A dataset folder with its features extracted")],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps for each part of the joint embedding [default: 1000]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
) -> None:
    """Train the retrieval and reranking heads: joint embedding and CIDEr predictor."""
    needs_torch()
    from mrnn.data.dataset import Dataset
    from mrnn.training.recipe import JointEmbeddingOptions

    asked = {"seed": seed} | ({"steps": steps} if steps else {})
    save_heads(run, Dataset.load(data), JointEmbeddingOptions.model_validate(asked))


def save_heads(
    run: Path,
    dataset: "Dataset",
    joint_embedding: "JointEmbeddingOptions",
    cider_predictor: "CiderPredictorOptions | None" = None,
) -> None:
    """Train the heads and keep them beside the network, with progress on stderr."""
    from mrnn.model.checkpoint import Checkpoint
    from mrnn.model.heads import HEADS
    from mrnn.training.heads import train_heads as train

    checkpoint = Checkpoint.load(run)
    with progress("Training heads", joint_embedding.parts * joint_embedding.steps) as advance:
        heads = train(checkpoint, dataset, joint_embedding, cider_predictor, advance)
    heads.save(run, checkpoint.fingerprint)
    print(
        f"{run / HEADS}: a unit of similarity counts {heads.weights.sentence_to_image:g} nats for "
        f"images, {heads.weights.image_to_sentence:g} for sentences"
    )
