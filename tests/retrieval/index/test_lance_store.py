import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mrnn.data.feature_store.keys import keys_of
from mrnn.data.feature_store.shard import STAMP, UNKNOWN, Column, Rows
from mrnn.data.feature_store.store import CONFIG
from mrnn.errors import DataError, MissingExtraError, OptionsError
from mrnn.retrieval.index import lance_condition, lance_store, lance_table, lance_writer
from mrnn.retrieval.index.folder import EVERYTHING_STAYS, Scope, index_writer
from mrnn.retrieval.index.index import RetrievalModel, open_index
from mrnn.retrieval.index.lance_store import LanceSelection, LanceStore
from mrnn.retrieval.index.lance_table import TABLE, connect, problem_of, table_folder
from mrnn.retrieval.index.path_pattern import PathPattern
from mrnn.retrieval.index.writer import index_photos
from mrnn.retrieval.search import PhotoIndex


@pytest.fixture
def photos(colours):
    return [image.path for image in colours.images]


@pytest.fixture
def folder(photos, model_with_heads, tmp_path):
    PhotoIndex.build(photos, tmp_path / "i", model_with_heads, engine="lance")
    return tmp_path / "i"


def test_rows_are_found_and_taken_in_any_order(folder, photos):
    store = open_index(folder)
    names = dict(store.names())
    assert list(names.values()) == [*map(str, photos)]
    rows = np.array([7, 3, 7, 0])
    whole = store.take("vectors", np.array([*names]))
    np.testing.assert_array_equal(store.take("vectors", rows), whole[rows])
    assert [store.name(row) for row in rows.tolist()] == [str(photos[row]) for row in rows]
    found = store.find_keys(keys_of([str(photos[5]), "nowhere", str(photos[2])]))
    assert found.tolist() == [5, -1, 2]
    assert store.find_keys(keys_of([])).tolist() == []


@pytest.mark.parametrize("paths", ["*", "*/dev-*", "*-0?-*", "*[0-4]-red.png", "*_*", "*%*"])
@pytest.mark.parametrize("query", ["a red wall", "crimson", "a crimson wall", 3])
def test_finds_are_those_of_the_numpy_engine(
    folder, photos, model_with_heads, colour_tags, tmp_path, paths, query
):
    for name in ("under_score.png", "per%cent.png", "back\\slash.png", "it's.png"):
        shutil.copy(photos[0], photos[0].with_name(name))
    every = sorted(photos[0].parent.iterdir())
    PhotoIndex.build(every, folder, model_with_heads)
    expected = PhotoIndex.build(every, tmp_path / "n", model_with_heads)
    found = PhotoIndex.load(folder)
    query = photos[query] if isinstance(query, int) else query
    options = {"top": 99, "paths": paths}
    by_path = {each.path: each.score for each in expected.search(query, **options)}
    finds = found.search(query, **options)
    assert {each.path: each.score for each in finds} == by_path
    assert [each.score for each in finds] == sorted(by_path.values(), reverse=True)


def test_no_path_matches(folder):
    for query in ("a red wall", "crimson"):
        with pytest.raises(OptionsError, match="has a path like" if query[0] == "a" else "knows"):
            PhotoIndex.load(folder).search(query, paths="nowhere/*")


def test_no_path_matches_a_search_by_tags(colour_tags, folder):
    told = r"^No photo of the index has a path like 'nowhere/\*'$"
    with pytest.raises(OptionsError, match=told):
        PhotoIndex.load(folder).search("crimson", paths="nowhere/*")


@pytest.mark.parametrize("paths", ["*/dev-*", "*/photos/*", "*ev-00*", "*", "*[0-4]-red.png"])
def test_photos_of_several_folders(photos, model_with_heads, tmp_path, monkeypatch, paths):
    """Also where a condition with all their folders were too long."""
    every = [*photos]
    for name in ("dev-00", "it's", "caf\u00e9", os.fsdecode(b"\xff_%"), "photos/photos"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        every += [Path(shutil.copy(photo, folder)) for photo in photos[:3]]
    expected = PhotoIndex.build(every, tmp_path / "n", model_with_heads)
    wanted = {find.path for find in expected.search("a red wall", top=99, paths=paths)}
    found = PhotoIndex.build(every, tmp_path / "l", model_with_heads, engine="lance")
    assert {find.path for find in found.search("a red wall", top=99, paths=paths)} == wanted
    monkeypatch.setattr(lance_condition, "MOST_TERMS", 0)
    found = PhotoIndex.load(tmp_path / "l")
    assert {find.path for find in found.search("a red wall", top=99, paths=paths)} == wanted


def test_conditions_are_remembered_not_too_many(folder, photos, monkeypatch):
    asked = []

    def condition(pattern, _):
        asked.append(pattern.given)
        return "path LIKE '%'"

    monkeypatch.setattr(lance_store, "MOST_CONDITIONS", 2)
    monkeypatch.setattr(lance_store, "condition_of", condition)
    store = open_index(folder)
    for given in "aabbabca":
        store.select(PathPattern.of(f"*{given}", are_paths=True), None)
    assert asked == ["*a", "*b", "*c", "*a"]


def partitioned(folder, model, vectors, monkeypatch):
    """An index of these vectors in folders of 600, in fifty partitions, the last added later."""
    sizes = {"ANN_ROWS": 256, "ROWS_OF_PARTITION": 20, "SAMPLE": 256, "UNINDEXED": 50}
    for name, value in sizes.items():
        monkeypatch.setattr(lance_writer, name, value)
    columns = {
        "vectors": Column(dtype="float32", size=vectors.shape[1]),
        "features": Column(dtype="float16", size=4),
    }
    config = RetrievalModel.load(model).config("photos", "lance")
    config = config.model_copy(update={"columns": columns})
    names = [f"/{row // 600}/{row}.jpg" for row in range(len(vectors))]
    for rows in (slice(2900), slice(2900, None)):
        some = names[rows]
        columns = {"vectors": vectors[rows], "features": np.zeros((len(some), 4), np.float16)}
        with index_writer(folder, config, EVERYTHING_STAYS, None) as (writer, _):
            writer.write(Rows(some, np.full((len(some), STAMP), UNKNOWN), columns))
    return open_index(folder)


@pytest.mark.parametrize("size", [64, 63])
@pytest.mark.parametrize(("few", "least"), [(lance_store.FEW, 1.0), (0, 0.9)])
def test_photos_far_from_a_query_are_found(
    model_with_heads, tmp_path, monkeypatch, size, few, least
):
    """Also where no partition near it has a photo of the folder; codes round, so most of them.

    LanceDB draws the centres of partitions anew each time: recall is .96 to 1.
    """
    random = np.random.default_rng(5)
    centre = random.standard_normal(size)
    ways = np.repeat([1, 1, 1, 1, -1], 600)[:, None]
    vectors = ways * centre + random.standard_normal((3000, size))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    monkeypatch.setattr(lance_store, "FEW", few)
    store = partitioned(tmp_path / "i", model_with_heads, vectors, monkeypatch)
    selection = store.select(PathPattern.of("/4/*", are_paths=False), None)
    right = []
    for query in centre + 0.5 * random.standard_normal((20, size)):
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        exact = 2400 + np.argsort(-vectors[2400:] @ unit)[:5]
        found = [store.name(row) for row in selection.nearest(unit, hubness=False)(5).tolist()]
        right += [name in found for name in (f"/4/{row}.jpg" for row in exact.tolist())]
    assert np.mean(right) >= least


@pytest.mark.parametrize(
    ("rows", "partitions", "paths", "meeting", "effort", "probes"),
    [
        (10**6, 1000, None, 10**6, None, 40),
        (10**8, 10_000, None, 10**8, None, 400),
        (10**6, 1000, "*", 2000, None, 0),
        (10**6, 1000, "*", 2001, None, 2000),
        (4 * 10**6, 2000, "*", 10**6, None, 500),
        (10**8, 10_000, "*", 10**7, None, 400),
        (10**8, 10_000, "*", 5000, None, 800),
        (10**8, 10_000, "*", 10**7, 1.0, 100),
        (10**8, 10_000, "*", 10**7, 100.0, 0),
        (15_000, 0, "*", 5000, None, 0),
    ],
)
def test_partitions_to_look_at(folder, rows, partitions, paths, meeting, effort, probes):
    config = open_index(folder).config.model_copy(update={"partitions": partitions})
    table = SimpleNamespace(count_rows=lambda: rows)
    pattern = PathPattern.of(paths, are_paths=False) if paths else None
    store = LanceStore(folder, config, table)
    selection = LanceSelection(store, pattern, paths, meeting, effort)
    assert selection.probes(50) == probes


@pytest.mark.parametrize("effort", [0.0, -1.0, 101.0, float("nan")])
def test_efforts_that_cannot_be_made(folder, effort):
    with pytest.raises(
        OptionsError, match=rf"^effort is {effort:g}; give a percentage above 0, up"
    ):
        PhotoIndex.load(folder).search("red", effort=effort)


def test_a_folder_whose_name_is_not_utf8(photos, model_with_heads, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff")
    told = r"\\udcff: --engine lance needs a folder whose name is UTF-8; name one$"
    with pytest.raises(DataError, match=told):
        PhotoIndex.build(photos, odd, model_with_heads, engine="lance")
    assert not odd.exists()


def test_without_lancedb_it_says_what_to_install(folder, monkeypatch, photos, model_with_heads):
    monkeypatch.setattr(lance_table, "find_spec", lambda _: None)
    told = r"^--engine lance needs LanceDB. Run: pip install 'mrnn\[lance\]'$"
    with pytest.raises(MissingExtraError, match=told):
        PhotoIndex.load(folder)
    with pytest.raises(MissingExtraError, match=told):
        PhotoIndex.build(photos, folder.with_name("new"), model_with_heads, engine="lance")
    assert not folder.with_name("new").exists()


def test_a_table_without_its_columns(folder, photos):
    import pyarrow as pa

    shutil.rmtree(table_folder(folder))
    connect(folder).create_table(TABLE, data=pa.table({"path": ["a"]}))
    config = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(config.replace('"version":2', '"version":0'))
    told = r"i has no column features; remove it, then run mrnn index again$"
    with pytest.raises(DataError, match=told):
        open_index(folder)


def test_a_table_that_is_gone(folder):
    shutil.rmtree(table_folder(folder))
    told = r"i is damaged \(No such file or directory\); remove it, then run mrnn index again$"
    with pytest.raises(DataError, match=told):
        open_index(folder)


@pytest.mark.parametrize("part", ["data", "_versions"])
@pytest.mark.parametrize("damage", ["gone", "cut", "dust"])
def test_a_damaged_table_is_told_in_one_line(folder, part, damage):
    """In the processes of its own that a panic of LanceDB may end."""
    for file in (table_folder(folder) / part).iterdir():
        content = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff" * 999)
    with pytest.raises(DataError, match=r"i is damaged \(.{3,}\); remove it, then run mrnn index"):
        PhotoIndex.load(folder).search("a red wall")


def test_what_lancedb_says_is_made_short():
    text = (
        "lance error: LanceError(IO): Generic LocalFileSystem error: Unable to copy data to file: "
        "No space left on device (os error 28), /root/.cargo/registry/src/lance/src/x.rs:1:2"
    )
    assert problem_of(RuntimeError(text)) == "No space left on device"
    assert problem_of(FileNotFoundError(2, "No such file")) == "No such file"
    assert problem_of(RuntimeError("lance error: Odd, rust/lance/src/io.rs:7:8\nmore")) == "Odd"


def test_a_panic_is_an_error_too(tmp_path):
    panic = type("PanicException", (BaseException,), {})
    told = r"is damaged \(index out of bounds\); remove it"
    with pytest.raises(DataError, match=told), lance_table.reading(tmp_path):
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), lance_table.reading(tmp_path):
        raise KeyboardInterrupt


def test_vectors_that_are_not_finite(folder, photos, model_with_heads, monkeypatch):
    import pyarrow as pa

    store = open_index(folder)
    table = store.table
    batch = table.search().limit(1).select(list(table.schema.names)).to_arrow()
    infinite = pa.array([[float("inf")] * 3], table.schema.field("vectors").type)
    place = batch.schema.get_field_index("vectors")
    batch = batch.set_column(place, table.schema.field("vectors"), infinite)
    table.checkout_latest()
    table.add(batch.select(table.schema.names))
    row = [number for number, _ in store.names()][-1]
    with pytest.raises(DataError, match=r"i is damaged \(the vectors are not finite\); remove it"):
        store.take("vectors", np.array([row]))


def test_lancedb_is_imported_where_it_is_used(photos, model_with_heads, tmp_path):
    PhotoIndex.build(photos, tmp_path / "n", model_with_heads)
    script = (
        "import sys; from mrnn.cli import main; sys.argv = ['mrnn', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(*sorted({'lancedb', 'pyarrow'} & sys.modules.keys()), file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, "search", tmp_path / "n", "a red wall"],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert found.stderr == "\n"


def test_an_index_of_the_other_engine(folder, photos, model_with_heads, tmp_path):
    model = RetrievalModel.load(model_with_heads)
    told = (
        r"i is an index of --engine lance, not numpy; give another folder, or leave --engine out$"
    )
    with pytest.raises(DataError, match=told):
        index_photos(photos, folder, model, lambda: None, pytest.fail, Scope(engine="numpy"))
    PhotoIndex.build(photos, tmp_path / "n", model_with_heads)
    with pytest.raises(
        DataError, match=r"n is an index of --engine numpy, not lance; give another"
    ):
        PhotoIndex.build(photos, tmp_path / "n", model_with_heads, engine="lance")


def test_a_folder_of_lancedb_itself(photos, model_with_heads, tmp_path):
    import pyarrow as pa

    connect(tmp_path / "mine").create_table("mine", data=pa.table({"a": [1]}))
    with pytest.raises(DataError, match=r"mine is not an index; make one with mrnn index$"):
        open_index(tmp_path / "mine")
    with pytest.raises(DataError, match=r"mine holds something else, 'mine.lance'; choose another"):
        PhotoIndex.build(photos, tmp_path / "mine", model_with_heads, engine="lance")
