"""Results as tar shards, JSON lines or folders of photos; Parquet has a module of its own."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from mrnn.bulk.formats import Format
from mrnn.bulk.job import Job
from mrnn.bulk.tasks import Add, Embedded, Result
from mrnn.captioning.results import ImageCaptions
from mrnn.data.shards.lists import METADATA
from mrnn.data.shards.photo import ShardPhoto, photo_suffix
from mrnn.data.shards.tar import add_to_tar, new_tar, tar_key
from mrnn.outputs import folder_aside, written_aside


def open_output(file: Path, job: Job, metadata: Mapping[str, Any]) -> AbstractContextManager[Add]:
    """Results of one shard; they are there when the block ends without an error, else not at all.

    `metadata` goes where the format has a place for it.
    """
    if job.files is Format.parquet:
        from mrnn.bulk.parquet_output import parquet_output

        return parquet_output(file, job, metadata)
    return {
        Format.tar: _tar_output, Format.jsonl: _jsonl_output, Format.metadata: _folder_output,
    }[job.files](file)  # fmt: skip


@contextmanager
def _tar_output(file: Path) -> Iterator[Add]:
    """KEY.jpg, KEY.txt with the caption and KEY.json with all; photos without captions are left."""
    taken = set()

    def add(photo: ShardPhoto, result: Result) -> None:
        if result.error:
            return
        key = tar_key(os.path.splitext(photo.key)[0] if photo_suffix(photo.key) else photo.key)
        if key in taken:  # a.jpg and a.png of a list
            key = tar_key(photo.key)
        taken.add(key)
        add_to_tar(archive, key + photo.file_suffix, photo.content)
        add_to_tar(archive, f"{key}.txt", f"{_caption(result)}\n".encode())
        add_to_tar(archive, f"{key}.json", _line(result))

    with written_aside(file) as stream, new_tar(stream) as archive:
        yield add


@contextmanager
def _jsonl_output(file: Path) -> Iterator[Add]:
    """A line a photo, as `mrnn caption --json` prints it, with the key as its image."""

    def add(_: ShardPhoto, result: Result) -> None:
        stream.write(_line(result))

    with written_aside(file) as stream:
        yield add


@contextmanager
def _folder_output(folder: Path) -> Iterator[Add]:
    """A folder with the photos and `metadata.jsonl`; photos without captions are left out."""
    numbers = count()

    def add(photo: ShardPhoto, result: Result) -> None:
        if result.error:
            return
        name = f"{next(numbers):06}{photo.file_suffix}"
        (made / name).write_bytes(photo.content)
        row = json.loads(_line(result))
        del row["error"]
        row = {"file_name": name, "key": row.pop("image"), "text": _caption(result), **row}
        lines.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    with folder_aside(folder.parent) as aside:
        made = aside / folder.name
        made.mkdir()
        with (made / METADATA).open("wb") as lines:
            yield add
        if folder.exists():  # of a run that was killed before it was told to be whole
            folder.replace(aside / "old")
        made.replace(folder)


def _line(result: Result) -> bytes:
    assert isinstance(result, ImageCaptions)  # embeddings go to Parquet alone
    return result.model_dump_json().encode() + b"\n"


def _caption(result: ImageCaptions | Embedded) -> str:
    assert isinstance(result, ImageCaptions)
    return result.captions[0].text
