"""Results as Parquet: a row a photo.

Letters: F image feature, D joint embedding.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mrnn.bulk.job import Job
from mrnn.bulk.tasks import Add, Embedded, Result
from mrnn.captioning.results import ImageCaptions
from mrnn.data.shards.photo import ShardPhoto
from mrnn.outputs import written_aside

ROWS, ROWS_WITH_IMAGES = 1000, 100
"""Of a row group, which is read, and held in memory, as a whole."""
TAG = pa.struct([("tag", pa.string()), ("probability", pa.float64()), ("count", pa.int64())])
CAPTIONS = (
    ("key", pa.string()),
    ("caption", pa.string()),
    ("captions", pa.list_(pa.struct([("text", pa.string()), ("log_probability", pa.float64())]))),
    ("tags", pa.list_(TAG)),
    ("familiarity", pa.float64()),
    ("confidence", pa.float64()),
    ("error", pa.string()),
)
IMAGE = ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
HUGGING_FACE = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
"""So that its datasets take the column for photos."""


@contextmanager
def parquet_output(file: Path, job: Job, metadata: Mapping[str, Any]) -> Iterator[Add]:
    """Results of one shard; they are there when the block ends without an error."""
    rows: list[dict[str, Any]] = []
    row_group = ROWS_WITH_IMAGES if job.with_images else ROWS

    def add(photo: ShardPhoto, result: Result) -> None:
        row = _embedded(result) if isinstance(result, Embedded) else _captioned(result)
        if job.with_images:
            row["image"] = {"bytes": photo.content, "path": photo.key + photo.file_suffix}
        rows.append(row)
        if len(rows) == row_group:
            write()

    def write() -> None:
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
        writer.write_batch(batch, row_group_size=row_group)
        rows.clear()

    schema = _schema(job, metadata)
    with written_aside(file) as stream, pq.ParquetWriter(stream, schema) as writer:
        yield add
        if rows:
            write()


def _schema(job: Job, metadata: Mapping[str, Any]) -> Any:  # noqa: ANN401
    columns = list(CAPTIONS)
    if job.holds == "embeddings":
        columns = [("key", pa.string()), ("feature", pa.list_(pa.float16(), job.feature_size))]
        if job.embedding_size:
            columns.append(("embedding", pa.list_(pa.float32(), job.embedding_size)))
        columns.append(("error", pa.string()))
    about = {"mrnn": json.dumps(metadata)}
    if job.with_images:
        columns.append(IMAGE)
        about["huggingface"] = HUGGING_FACE
    return pa.schema(columns, metadata=about)


def _captioned(result: ImageCaptions) -> dict[str, Any]:
    best = result.captions[0].text if result.captions else None
    captions = [{"text": c.text, "log_probability": c.log_probability} for c in result.captions]
    return {
        "key": result.image, "caption": best, "captions": captions,
        "tags": [tag.model_dump() for tag in result.tags], "familiarity": result.familiarity,
        "confidence": result.confidence, "error": result.error,
    }  # fmt: skip


def _embedded(result: Embedded) -> dict[str, Any]:
    return {
        "key": result.image, "feature": result.feature, "embedding": result.embedding,
        "error": result.error,
    }  # fmt: skip
