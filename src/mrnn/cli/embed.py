"""Compute features and embeddings of the photos in shards."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.bulk import ShardFlags, run, takes_shard_flags
from mrnn.cli.terminal import EncoderFile, ModelDevice, ModelFolder, RunDevice, found_device


@takes_shard_flags("part", "engine", "address", "workers")
def embed(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="SHARD", help="Tar or Parquet files, lists of photos, globs, URLs"),
    ],
    model: ModelFolder = None,
    encoder_file: EncoderFile = None,
    device: ModelDevice = RunDevice.cpu,
    *,
    out: Annotated[Path, typer.Option(help="The folder of the Parquet files")],
    shards: ShardFlags,
) -> None:
    """Write features and joint embeddings of the photos in shards, a Parquet file a shard.

    Run again, it goes on. All processors work; with OMP_NUM_THREADS=1 before the command, one does.
    """
    from mrnn.bulk.tasks import load_embedding_task
    from mrnn.model.checkpoint import DEFAULT_MODEL

    shards.check(device)
    found = found_device(device)
    load = partial(load_embedding_task, model or DEFAULT_MODEL, encoder_file, found)
    run(paths, out, shards, load(), load, doing="Embedding", done="embedded")
