"""manifest.json of a bundle: the checksum of each of its files."""

import hashlib
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mrnn.errors import CheckpointError, DataError, naming
from mrnn.files import read_form
from mrnn.outputs import write_whole

FORMAT = 1
MANIFEST = "manifest.json"
MEND = "copy the bundle again"


Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    mrnn: str
    """The version that wrote the bundle."""
    files: dict[str, Checksum]
    """SHA-256, in hexadecimal digits, by path below the bundle."""


def write_manifest(folder: Path, version: str) -> None:
    """Write the manifest of all files in the folder."""
    files = {
        file.relative_to(folder).as_posix(): _checksum(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    manifest = Manifest(format=FORMAT, mrnn=version, files=files)
    write_whole(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


def check_manifest(folder: Path) -> None:
    """Raises CheckpointError where a file of a bundle is missing or changed.

    A folder without a manifest is no bundle, and passes.
    """
    file = folder / MANIFEST
    if not file.exists():
        return
    try:
        manifest = read_form(file, Manifest, FORMAT, MEND, "export the model again")
    except DataError as error:
        raise CheckpointError(error) from None
    for name, checksum in manifest.files.items():
        part = folder / name
        if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
            raise CheckpointError(f"{file} names a file outside its folder, {name!r:.60}; {MEND}")
        if not part.is_file():
            raise CheckpointError(f"{part} is missing; {MEND}")
        if _checksum(part) != checksum:
            raise CheckpointError(f"{part} was changed since its export; {MEND}")


def _checksum(file: Path) -> str:
    with naming(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
