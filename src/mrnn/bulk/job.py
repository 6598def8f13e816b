"""A job: what is done to each shard, and the folder that the results go to.

OUT/shard-000000.parquet and so on hold the results. OUT/.mrnn/job.json says what they depend on,
OUT/.mrnn/shard-000000.json that a result is whole, and of which shard.
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mrnn.bulk.formats import Format
from mrnn.errors import DataError, OptionsError, printable
from mrnn.files import read_form, read_json
from mrnn.locks import locked
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.outputs import write_whole

FORMAT = 1
PAUSE = 0.05
"""Seconds between two attempts to lock."""
OURS = ".mrnn"
"""The folder of what is not a result; tools that read a folder of results pass it over."""
OTHERS = "give another folder, or remove this one"


class Job(BaseModel):
    """What results depend on, but for the photos; the content of job.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    mrnn: str
    """The version that began it; another may go on."""
    holds: Literal["captions", "embeddings"]
    files: Format
    with_images: bool = False
    model: str
    """Fingerprint of the model."""
    heads: str | None
    """Fingerprint of its heads, if it has some."""
    device: str = "cpu"
    """Others give nearly the same results."""
    feature_size: int | None = None
    embedding_size: int | None = None
    """None for a model without heads."""
    decoding: DecodingOptions | None = None
    reranking: RerankingOptions | None = None
    consensus: str | None = None

    def difference(self, other: "Job") -> str:
        """What sets another job apart, in words of the command line; "" if nothing does."""
        if self.holds != other.holds:
            return f"holds {self.holds}, not {other.holds}"
        if (self.model, self.heads) != (other.model, other.heads):
            return f"is of another model ({self.model}, not {other.model})"
        own, others = _options(self), _options(other)
        for name in own:
            if own[name] != others[name]:
                flag = f"--{name.replace('_', '-')}"
                return f"was made with {flag} {own[name]!s:.60}, not {others[name]!s:.60}"
        return ""


class Finished(BaseModel):
    """The content of the file that says that a result is whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: str
    """Of the shard that it was made of."""
    photos: int
    """Rows."""
    failed: int
    """Photos without a result; they have a row with an error, where the format has such."""
    problems: tuple[str, ...] = ()
    """What else was wrong with the shard, a line each."""
    damaged: bool = False
    """Whether the shard was cut short, so that a mended one may replace it."""


class OutputFolder:
    """The folder of a job's results."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder, self.job, self._ours = folder, job, folder / OURS

    def agree(self) -> None:
        """Begin the job, or go on with it.

        Raises DataError for a folder of something else, OptionsError for one of another job.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError(f"{self.folder} is a file; give a folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        others = [name for name in os.listdir(self.folder) if not name.startswith(OURS)]
        if others and not self._job_file.exists():
            raise DataError(f"{self.folder} holds something else, {others[0]!r:.80}; {OTHERS}")
        self._ours.mkdir(exist_ok=True)
        with _waited_for(self._job_file):
            if not self._job_file.exists():
                write_whole(self._job_file, self.job.model_dump_json(indent=2) + "\n")
        found = read_form(self._job_file, Job, FORMAT, OTHERS, OTHERS)
        if difference := found.difference(self.job):
            raise OptionsError(f"{self.folder} {difference}; {OTHERS}")

    @property
    def _job_file(self) -> Path:
        return self._ours / "job.json"

    def result(self, name: str) -> Path:
        """The file of a shard's results; of the format "metadata" its folder."""
        suffix = "" if self.job.files is Format.metadata else f".{self.job.files}"
        return self.folder / f"{name}{suffix}"

    def lock(self, name: str) -> AbstractContextManager[None]:
        """One writer for each shard. Raises DataError, and nothing else, if there is another."""
        return locked(self._ours / f"{name}.json")

    def finished(self, name: str, stamp: str) -> Finished | None:
        """What was found in a shard that is done; None if it is to be done.

        Raises DataError for a result of another shard of that name.
        """
        result, file = self.result(name), self._ours / f"{name}.json"
        if not (result.exists() and file.exists()):
            return None
        found = read_json(file, Finished)
        if found.stamp == stamp:
            return found
        if found.damaged:
            return None
        raise DataError(
            f"{result} is of another shard named {printable(name)}; give another folder, or remove "
            "that file to make it again"
        )

    def finish(self, name: str, finished: Finished) -> None:
        """From now on the result counts."""
        write_whole(self._ours / f"{name}.json", finished.model_dump_json() + "\n")

    def metadata(self, name: str, stamp: str) -> dict[str, Any]:
        """What a file of results says of itself."""
        return {**self.job.model_dump(mode="json"), "shard": name, "stamp": stamp}


@contextmanager
def _waited_for(file: Path) -> Iterator[None]:
    """The lock of a file that nobody keeps for long."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(file))
                break
            except DataError:
                time.sleep(PAUSE)
        yield


def _options(job: Job) -> dict[str, object]:
    """By their flags."""
    options: dict[str, object] = {"format": job.files, "with_images": job.with_images}
    options |= {"device": job.device, "consensus": job.consensus}
    for part in (job.decoding, job.reranking):
        options |= part.model_dump() if part else {}
    return options
