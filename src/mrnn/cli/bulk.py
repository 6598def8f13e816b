"""Shards on the command line: flags, and what `mrnn caption` and `mrnn embed` do with them."""

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mrnn.bulk.formats import Format
from mrnn.captioning.options import Asked
from mrnn.cli.decoding_flags import told_options
from mrnn.cli.terminal import (
    RunDevice,
    consensus_source,
    found_device,
    is_url,
    progress,
    tell,
)
from mrnn.errors import OptionsError, counted

if TYPE_CHECKING:
    from mrnn.bulk.run import Summary
    from mrnn.bulk.tasks import Task


class Engine(StrEnum):
    """What hands shards to processes."""

    ray = "ray"


FLAGS: dict[str, Any] = {
    "files": Annotated[
        Format | None,
        typer.Option(
            "--format", help="Of shards: what their captions are written as [default: parquet]"
        ),
    ],
    "with_images": Annotated[
        bool | None,
        typer.Option("--with-images", help="Of shards: put the photos into the Parquet files too"),
    ],
    "part": Annotated[
        str | None,
        typer.Option(
            metavar="K/N", help="Of shards: do the K-th of N parts, from 1/N to N/N, as in an array"
        ),
    ],
    "engine": Annotated[
        Engine | None,
        typer.Option(help="Of shards: do them on a Ray cluster, or in processes of this machine"),
    ],
    "address": Annotated[
        str | None,
        typer.Option(help="The Ray cluster: auto, or HOST:PORT [default: one of this machine]"),
    ],
    "workers": Annotated[
        int | None,
        typer.Option(min=1, help="Processes on the Ray cluster [default: one a processor]"),
    ],
}
"""Of `mrnn caption`; `mrnn embed` has those but for the first two."""


@dataclass(frozen=True)
class ShardFlags:
    """What was given of the flags for shards; None for what was not."""

    files: Format | None = None
    with_images: bool | None = None
    part: str | None = None
    engine: Engine | None = None
    address: str | None = None
    workers: int | None = None

    def check(self, device: RunDevice) -> None:
        """Raises OptionsError for flags of an engine without one, and for what Ray cannot do."""
        if self.engine and device is not RunDevice.cpu:
            raise OptionsError("--engine ray runs on processors; leave out --device")
        if not self.engine and (self.address or self.workers):
            flag = "--address" if self.address else "--workers"
            raise OptionsError(f"{flag} is for a Ray cluster; give --engine ray too")

    def given(self) -> list[str]:
        """The flags that were given."""
        flags = {"files": "--format", "with_images": "--with-images"}
        return [
            flags.get(name, f"--{name}") for name, value in vars(self).items() if value is not None
        ]

    @property
    def part_numbers(self) -> tuple[int, int]:
        """Part and parts. Raises OptionsError."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.part or "1/1")
        if not (found and 1 <= int(found[1]) <= int(found[2])):
            raise OptionsError(
                f"--part {self.part!s:.40}: expected K/N with K from 1 to N, such as 3/16"
            )
        return int(found[1]), int(found[2])


@dataclass(frozen=True)
class ModelFlags:
    """The flags that choose a model."""

    model: Path | None = None
    consensus: str | None = None
    encoder_file: Path | None = None
    device: RunDevice = RunDevice.cpu


def takes_shard_flags(
    *names: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds these flags to a command, which gets them as its argument `shards`; all if none."""

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        chosen = {name: flag for name, flag in FLAGS.items() if name in names or not names}
        flags = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag)
            for name, flag in chosen.items()
        ]
        own = [each for name, each in signature.parameters.items() if name != "shards"]

        @functools.wraps(command)
        def with_flags(*args: Any, **given: Any) -> None:  # noqa: ANN401
            found = {name: given.pop(name, None) for name in chosen}
            command(*args, **given, shards=ShardFlags(**found))

        with_flags.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=sorted([*own, *flags], key=lambda each: each.kind)
        )
        return with_flags

    return decorated


def are_shards(paths: Sequence[str], out: Path | None, flags: ShardFlags) -> bool:
    """Whether shards are to be captioned, not photos.

    Lists, and folders of shards, are so only where `--out` is a folder. Raises OptionsError for
    flags of shards where there are none.
    """
    from mrnn.data.shards.shard import is_list, is_shard

    if any(map(is_shard, paths)):
        return True
    into_folder = out is not None and (out.is_dir() or not out.suffix)
    if into_folder and (flags.given() or any(is_list(p) or os.path.isdir(p) for p in paths)):
        return True
    if flags.given():
        raise OptionsError(
            f"{flags.given()[0]} is for shards; make some with mrnn shard, and give --out FOLDER"
        )
    return False


def caption_shards(
    paths: Sequence[str],
    out: Path | None,
    flags: ShardFlags,
    asked: Asked,
    model: ModelFlags,
    for_photos: Mapping[str, object],
) -> None:
    """Shards to shards of captions. `for_photos` are flags that go with photos alone."""
    from mrnn.bulk.tasks import CaptionTask, load_caption_task
    from mrnn.captioning.captioner import Captioner
    from mrnn.model.checkpoint import DEFAULT_MODEL

    if out is None or out.suffix in (".jsonl", ".csv"):
        raise OptionsError(
            "Shards are captioned into a folder: give --out FOLDER, and --format jsonl for lines"
        )
    if refused := [flag for flag, given in for_photos.items() if given]:
        raise OptionsError(f"{refused[0]} is for photos, not for shards; leave it out")
    files, with_images = flags.files or Format.parquet, bool(flags.with_images)
    if with_images and files is not Format.parquet:
        raise OptionsError(f"--with-images is for --format parquet, not {files}; leave it out")
    flags.check(model.device)
    folder, consensus = model.model or DEFAULT_MODEL, consensus_source(model.consensus)
    captioner = Captioner.load(
        folder, consensus, encoder_file=model.encoder_file, device=found_device(model.device)
    )
    decoding, reranking = told_options(captioner, asked)
    task = CaptionTask(captioner, decoding, reranking, files, with_images, consensus)
    load = partial(
        load_caption_task, folder, model.encoder_file, decoding, reranking,
        consensus=consensus, files=files, with_images=with_images,
    )  # fmt: skip
    run(paths, out, flags, task, load, doing="Captioning", done="captioned")


def run(
    paths: Sequence[str],
    out: Path,
    flags: ShardFlags,
    task: "Task",
    load: Callable[[], "Task"],
    *,
    doing: str,
    done: str,
) -> None:
    """Do a task to shards, and say what became of them. Exits with 1 if something was wrong.

    `load` gives the same task on another machine.
    """
    from mrnn.bulk.run import run_shards
    from mrnn.bulk.worker import Worker
    from mrnn.data.shards.shard import find_shards, needs_pyarrow, part_of

    part = flags.part_numbers
    if is_url(out):
        raise OptionsError(f"--out {out!s:.80}: results go to a folder of this machine; name one")
    if task.job.files is Format.parquet:
        needs_pyarrow()
    found = find_shards(paths)
    shards = part_of(found, part)
    if not shards:
        tell(f"Part {flags.part} has nothing to do: {counted(len(found), 'shard')} in all")
    worker = Worker(out, task)
    with progress(doing, len(shards)) as advance:
        if flags.engine is Engine.ray:
            from mrnn.bulk.ray_engine import Cluster, run_on_ray

            cluster = Cluster(flags.address, flags.workers)
            summary = run_on_ray(shards, load, out, cluster, advance, tell)
        else:
            summary = run_shards(shards, worker, advance, tell)
    _tell_summary(out, summary, len(shards), done)
    if not summary.good:
        raise typer.Exit(1)


def _tell_summary(out: Path, summary: "Summary", shards: int, done: str) -> None:
    if summary.kept:
        tell(f"{out}: {counted(summary.kept, 'shard is', 'shards are')} done already")
    if summary.done:
        good = summary.photos - summary.failed_photos
        of = f"{counted(good, 'photo')} of {counted(summary.done, 'shard')}"
        tell(f"Wrote {out}: {of} {done}")
    if summary.failed_photos:
        tell(f"{summary.failed_photos:,} of {summary.photos:,} photos could not be {done}")
    if summary.failed:
        names = ", ".join(summary.failed)
        tell(f"{len(summary.failed):,} of {shards:,} shards have no result: {names:.200}")
