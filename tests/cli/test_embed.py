import pyarrow.parquet as pq


def test_photos_to_vectors(mrnn, model_with_heads, album, tmp_path):
    out = tmp_path / "vectors"
    mrnn("shard", album, "--out", tmp_path / "shards", "--size", 3)
    command = ("embed", tmp_path / "shards/*.tar", "--model", model_with_heads, "--out", out)
    assert mrnn(*command) == (0, "", f"Wrote {out}: 4 photos of 2 shards embedded\n")
    tables = [pq.read_table(file) for file in sorted(out.glob("*.parquet"))]
    assert [table.num_rows for table in tables] == [3, 1]
    assert tables[0].column_names == ["key", "feature", "embedding", "error"]
    assert mrnn(*command) == (0, "", f"{out}: 2 shards are done already\n")
