"""Compute features and embeddings of the photos in shards."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.bulk import ShardFlags, run, takes_shard_flags
from mrnn.cli.terminal import EncoderFile, ModelFolder


@takes_shard_flags("part")
def embed(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="SHARD", help="Tar or Parquet files, lists of photos, globs, URLs"),
    ],
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder of the Parquet files")],
    shards: ShardFlags,
) -> None:
    """Write features and joint embeddings of the photos in shards, a Parquet file a shard.

    Run again, it goes on.
    """
    from mrnn.bulk.tasks import EmbeddingTask
    from mrnn.model.checkpoint import DEFAULT_MODEL, Checkpoint

    checkpoint = Checkpoint.load(model or DEFAULT_MODEL)
    task = EmbeddingTask(checkpoint, checkpoint.load_encoder(encoder_file))
    run(paths, out, shards, task, "Embedding", "embedded")
