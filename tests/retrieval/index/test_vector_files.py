import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrnn.errors import DataError, MissingExtraError
from mrnn.retrieval.index.folder import Scope
from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.index.vector_files import VectorFiles, export_vectors
from mrnn.retrieval.index.vectors import index_vectors
from mrnn.retrieval.search import PhotoIndex


@pytest.fixture
def loaded(model_with_heads):
    return RetrievalModel.load(model_with_heads)


def vectors_of(model, photos, folder):
    """What `mrnn embed` writes of photos, named k0, k1 and so on."""
    from mrnn.bulk.formats import Format
    from mrnn.bulk.outputs import open_output
    from mrnn.bulk.tasks import EmbeddingTask
    from mrnn.data.shards.photo import ShardPhoto

    task = EmbeddingTask(model.checkpoint, model.encoder)
    folder.mkdir(exist_ok=True)
    assert task.job.files is Format.parquet
    for start in range(0, len(photos), 10):
        file = folder / f"shard-{start:06}.parquet"
        shard = [
            ShardPhoto(f"k{number}.png", photo.read_bytes())
            for number, photo in enumerate(photos[start : start + 10], start)
        ]
        with open_output(file, task.job, task.job.model_dump(mode="json")) as add:
            for photo, result in task.results(shard):
                add(photo, result)
    return folder


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


@pytest.fixture
def vectors(loaded, photos, tmp_path):
    return vectors_of(loaded, photos, tmp_path / "vectors")


def add(source, folder, model, on_problem=pytest.fail, **scope):
    files = VectorFiles.find(source, model)
    return index_vectors(files, folder, model, lambda _: None, on_problem, Scope(**scope))


def changed(file, change):
    """Another content of a Parquet file, with its metadata."""
    table = pq.read_table(file)
    pq.write_table(change(table), file)


def counts(changes):
    return changes.new, changes.changed, changes.forgotten, changes.away


def test_finds_are_those_of_an_index_of_the_photos(
    vectors, photos, loaded, model_with_heads, tmp_path, engine
):
    assert counts(add(vectors, tmp_path / "i", loaded)) == (30, 0, 0, 0)
    direct = PhotoIndex.build(photos, tmp_path / "direct", model_with_heads)
    made = PhotoIndex.load(tmp_path / "i")
    keys = {f"k{number}.png": str(photo) for number, photo in enumerate(photos)}
    for query in ("a red wall", "green", photos[3]):
        found, expected = made.search(query, top=30), direct.search(query, top=30)
        assert [keys[each.path] for each in found] == [each.path for each in expected]
        assert [each.score for each in found] == [each.score for each in expected]
    found = made.search("red", top=30, paths="k1?.png")
    assert {each.path for each in found} == {f"k1{digit}.png" for digit in range(10)}


@pytest.mark.usefixtures("engine")
def test_only_what_is_new_or_other_is_written(vectors, loaded, tmp_path):
    add(vectors, tmp_path / "i", loaded)
    assert counts(add(vectors, tmp_path / "i", loaded)) == (0, 0, 0, 0)

    def other(table):
        keys = pa.array(["new.png", *table["key"].to_pylist()[1:]])
        rows = table["feature"].to_pylist()
        rows[1] = [0.5] * len(rows[1])
        features = pa.array(rows, table.schema.field("feature").type)
        return table.set_column(0, table.schema.field(0), keys).set_column(
            1, table.schema.field(1), features
        )

    changed(vectors / "shard-000010.parquet", other)
    assert counts(add(vectors, tmp_path / "i", loaded)) == (1, 1, 0, 1)
    rows = {name: row for row, name in open_index(tmp_path / "i").names()}
    taken = open_index(tmp_path / "i").take("features", np.array([rows["k11.png"]]))
    assert (taken == 0.5).all()
    assert counts(add(vectors, tmp_path / "i", loaded, prune=True)) == (0, 0, 1, 0)
    assert len(open_index(tmp_path / "i")) == 30


def test_photos_without_vectors_and_keys_that_come_twice(vectors, loaded, tmp_path):
    file = vectors / "shard-000020.parquet"

    def broken(table):
        rows = table.to_pylist()
        rows[3] |= {"feature": None, "embedding": None, "error": "k23.png: not a photo"}
        rows[4]["key"], rows[5]["key"] = "k0.png", "k26.png"
        return pa.Table.from_pylist(rows, table.schema)

    changed(file, broken)
    told = []
    assert counts(add(vectors, tmp_path / "i", loaded, told.append)) == (27, 0, 0, 0)
    assert told == [
        "k23.png: not a photo",
        "k0.png: comes twice; its first vectors count",
        "k26.png: comes twice; its first vectors count",
    ]


def test_files_of_something_else(vectors, loaded, tmp_path):
    file = vectors / "shard-000000.parquet"
    content = file.read_bytes()

    def told(message, source=file):
        with pytest.raises(DataError, match=message):
            VectorFiles.find(source, loaded)

    def about(**other):
        def change(table):
            given = json.loads(table.schema.metadata[b"mrnn"]) | other
            return table.replace_schema_metadata({"mrnn": json.dumps(given)})

        file.write_bytes(content)
        changed(file, change)

    empty = tmp_path / "empty"
    empty.mkdir()
    told(r"empty has no Parquet file; make such files with mrnn embed$", empty)
    told(r"nowhere does not exist; make such files with mrnn embed$", tmp_path / "nowhere")
    about(model="another")
    told(r"parquet is of another model than \S+; name its model by --model$")
    about(heads="another")
    told(r"parquet is of another model than ")
    about(holds="captions")
    told(r"parquet holds captions, not vectors of photos; make such")
    file.write_bytes(content)
    changed(file, lambda table: table.drop_columns(["embedding"]))
    told(r"parquet has no joint embeddings, as its model has no heads; make")
    file.write_bytes(content)
    changed(
        file,
        lambda table: table.set_column(
            2, "embedding", pa.array([[1.0, 2.0]] * 10, pa.list_(pa.float32(), 2))
        ),
    )
    told(r"parquet has vectors of other sizes than its model makes; make")
    file.write_bytes(content)
    names = ["path", "feature", "embedding", "error"]
    about()
    changed(
        file,
        lambda table: table.rename_columns(names).replace_schema_metadata(table.schema.metadata),
    )
    told(r"vectors has files with keys and files with paths; index one kind$", vectors)
    changed(file, lambda table: table.replace_schema_metadata(None))
    told(r"parquet is not by mrnn embed; make such files")
    file.write_bytes(content[:-100])
    told(r"parquet: no whole Parquet file \(.*\); make such files with mrnn embed$")


def test_a_vector_that_is_not_finite(vectors, loaded, tmp_path):
    def infinite(table):
        rows = table.to_pylist()
        rows[0]["embedding"][0] = float("inf")
        return pa.Table.from_pylist(rows, table.schema)

    changed(vectors / "shard-000000.parquet", infinite)
    with pytest.raises(DataError, match=r"0\.parquet is damaged \(a vector is not finite\); make"):
        add(vectors, tmp_path / "i", loaded)


def test_no_vectors_at_all(vectors, loaded, tmp_path):
    file = vectors / "shard-000000.parquet"
    changed(file, lambda table: table.slice(0, 0))
    with pytest.raises(DataError, match=r"i: there are no vectors to index$"):
        add(file, tmp_path / "i", loaded)
    assert not (tmp_path / "i").exists()


def test_photos_and_keys_do_not_mix(vectors, photos, loaded, model_with_heads, tmp_path):
    add(vectors, tmp_path / "i", loaded)
    told = r"i is an index of bulk vectors; add others by --from; give another folder$"
    with pytest.raises(DataError, match=told):
        PhotoIndex.build(photos, tmp_path / "i", model_with_heads)
    PhotoIndex.build(photos, tmp_path / "p", model_with_heads)
    with pytest.raises(DataError, match=r"p is an index of photos; give another folder$"):
        add(vectors, tmp_path / "p", loaded)


@pytest.mark.usefixtures("engine")
def test_an_export_is_read_again(photos, loaded, model_with_heads, tmp_path):
    odd = photos[0].with_name("odd\udcff.png")
    photos[0].rename(odd)
    made = PhotoIndex.build([odd, *photos[1:]], tmp_path / "i", model_with_heads)
    counted, file = [], tmp_path / "photos.parquet"
    export_vectors(open_index(tmp_path / "i"), file, counted.append)
    assert sum(counted) == 30
    table = pq.read_table(file)
    assert table.column_names == ["path", "embedding", "feature"]
    assert json.loads(table.schema.metadata[b"mrnn"])["model"] == loaded.checkpoint.fingerprint
    add(file, tmp_path / "again", loaded)
    again = PhotoIndex.load(tmp_path / "again")
    for query in ("a red wall", photos[3]):
        assert again.search(query, top=30) == made.search(query, top=30)


def test_an_export_of_sentences(model_with_heads, tmp_path):
    PhotoIndex.build_sentences(["a red wall", "Blue"], tmp_path / "i", model_with_heads)
    export_vectors(open_index(tmp_path / "i"), tmp_path / "s.parquet", lambda _: None)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table["sentence"].to_pylist() == ["a red wall", "Blue"]
    assert {"embedding", "marginals", "hubness"} <= set(table.column_names)


def test_without_pyarrow_it_says_what_to_install(vectors, loaded, monkeypatch):
    monkeypatch.setattr("mrnn.data.shards.shard.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mrnn\[scale\]'$"):
        VectorFiles.find(vectors, loaded)
