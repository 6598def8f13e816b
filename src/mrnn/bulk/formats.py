"""What results can be written as."""

from enum import StrEnum


class Format(StrEnum):
    """A kind of file; see `mrnn.bulk.outputs`."""

    parquet = "parquet"
    tar = "tar"
    jsonl = "jsonl"
    metadata = "metadata"
