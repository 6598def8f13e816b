"""Pack photos into shards."""

from pathlib import Path
from typing import Annotated

import typer

from mrnn.cli.photo_arguments import Exclude, Photos, found_photos
from mrnn.cli.terminal import progress, tell
from mrnn.errors import counted


def shard(
    paths: Photos,
    exclude: Exclude = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder of the shards")],
    size: Annotated[int, typer.Option(min=1, help="Photos in a shard")] = 1000,
) -> None:
    """Pack photos into tar files for bulk work, with the .txt or .json beside them.

    The files are as webdataset has them. Photos are not changed.
    """
    from mrnn.data.shards.making import keyed_photos, make_shards

    found, problems = found_photos(paths, exclude)
    photos = keyed_photos(found, found if "-" in paths else paths)
    with progress("Packing", len(photos)) as advance:
        made = make_shards(photos, out, size, advance, tell)
    if made.kept:
        tell(f"{out}: {counted(made.kept, 'shard was', 'shards were')} there already")
    if made.shards:
        tell(f"Wrote {out}: {counted(made.photos, 'photo')} in {counted(made.shards, 'shard')}")
    if made.failed:
        tell(f"{made.failed:,} of {len(photos):,} photos could not be read")
    if made.failed or problems:
        raise typer.Exit(1)
