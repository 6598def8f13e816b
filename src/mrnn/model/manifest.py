"""manifest.json of a bundle: the checksum of each of its files."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mrnn.errors import CheckpointError, DataError
from mrnn.files import read_json
from mrnn.outputs import write_whole

FORMAT = 1
MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """The content of manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    mrnn: str
    """The version that wrote the bundle."""
    files: dict[str, str]
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
        manifest = read_json(file, Manifest)
    except DataError as error:
        raise CheckpointError(f"{error}; copy the bundle again") from None
    if manifest.format != FORMAT:
        raise CheckpointError(
            f"{file} has format {manifest.format}; this version reads {FORMAT}. Upgrade mrnn, or "
            "export the model again"
        )
    for name, checksum in manifest.files.items():
        part = folder / name
        if not part.is_file():
            raise CheckpointError(f"{part} is missing; copy the bundle again")
        if _checksum(part) != checksum:
            raise CheckpointError(f"{part} was changed since its export; copy the bundle again")


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
