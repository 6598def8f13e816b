import json

import numpy as np
import pyarrow.parquet as pq

from mrnn.bulk import parquet_output
from mrnn.bulk.formats import Format
from mrnn.bulk.outputs import open_output
from mrnn.data.shards.photo import ShardPhoto
from tests.bulk.conftest import same_photo


def test_a_row_a_photo(written):
    file, results = written(Format.parquet)
    rows = pq.read_table(file).to_pylist()
    assert [row["key"] for row in rows] == list(results)
    for row, result in zip(rows, results.values(), strict=True):
        assert row.keys() == {
            *("key", "caption", "captions", "tags", "familiarity", "confidence", "error"),
        }
        assert (row["familiarity"], row["error"]) == (result.familiarity, result.error)
        assert row["captions"] == [
            {"text": c.text, "log_probability": c.log_probability} for c in result.captions
        ]
        assert row["caption"] == (result.captions[0].text if result.captions else None)


def test_what_it_was_made_with_is_in_the_file(written):
    file, _ = written(Format.parquet)
    assert json.loads(pq.read_schema(file).metadata[b"mrnn"]) == {"shard": "out"}


def test_datasets_read_photos_and_captions(written, photos, load_dataset):
    file, results = written(Format.parquet, with_images=True)
    rows = load_dataset("parquet", data_files=str(file))
    assert [row["caption"] for row in rows.remove_columns("image")] == [
        each.captions[0].text if each.captions else None for each in results.values()
    ]
    for row, photo in zip(rows.select(range(2)), photos, strict=False):
        assert same_photo(row["image"], photo)


def test_rows_are_written_in_groups(caption_task, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_output, "ROWS", 4)
    task = caption_task()
    many = [ShardPhoto(str(number), photos[number % 2].content) for number in range(10)]
    with open_output(tmp_path / "x.parquet", task.job, {}) as add:
        for photo, result in task.results(many):
            add(photo, result)
    about = pq.read_metadata(tmp_path / "x.parquet")
    assert [about.row_group(group).num_rows for group in range(3)] == [4, 4, 2]
    assert pq.read_table(tmp_path / "x.parquet")["key"].to_pylist() == [*map(str, range(10))]


def test_vectors(embedding_task, photos, tmp_path):
    found = []
    with open_output(tmp_path / "x.parquet", embedding_task.job, {}) as add:
        for photo, result in embedding_task.results(photos):
            add(photo, result)
            found.append(result)
    table = pq.read_table(tmp_path / "x.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "key": "string", "feature": "fixed_size_list<element: halffloat>[7]",
        "embedding": "fixed_size_list<element: float>[3]", "error": "string",
    }  # fmt: skip
    assert table["error"].to_pylist() == [each.error for each in found]
    assert table["feature"][2].as_py() is None
    np.testing.assert_array_equal(np.float16(table["feature"][0].as_py()), found[0].feature)
    np.testing.assert_array_equal(np.float32(table["embedding"][1].as_py()), found[1].embedding)
