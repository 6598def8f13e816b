import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.photos.names import name_as_text
from mrnn.retrieval.index import lance_condition
from mrnn.retrieval.index.lance_condition import condition_of, where_path
from mrnn.retrieval.index.path_pattern import PathPattern, folder_of

NAMES = [
    "a.jpg", "ab/a.jpg", "/a", "/a/a", "/a/a/b.jpg", "/a/b/a", "/a/b/2024/1.jpg", "/b/2024/a/2.jpg",
    "/b/2024/a_b.jpg", "/b/20%/a.jpg", "/b/it's/a.jpg", "/b/\u00e9/a.jpg", "/b/\U0001f40e/a",
    "/b/\udcff/a", "/b/\\udcff/b", "/b//a", *(f"/c/{n:02}/a.jpg" for n in range(20)),
]  # fmt: skip
FOLDERS = sorted({folder_of(name_as_text(name)) for name in NAMES})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    import pyarrow as pa

    from mrnn.retrieval.index.lance_table import connect

    texts = [name_as_text(name) for name in NAMES]
    columns = {"path": texts, "folder": [*map(folder_of, texts)], "row": range(len(texts))}
    database = connect(tmp_path_factory.mktemp("lance"))
    return database.create_table("names", data=pa.table({**columns, "row": np.arange(len(texts))}))


def found(table, condition):
    rows = table.search().where(condition).select(["row"]).limit(len(NAMES)).to_arrow()["row"]
    return {NAMES[row] for row in rows.to_pylist()}


@pytest.mark.parametrize("most", [0, lance_condition.MOST_TERMS])
@given(
    parts=st.lists(
        st.sampled_from(["*", "?", "/", "a", "b", "2024", ".jpg", "[ab]", "[!a]", "[", "c/0", "'"]),
        min_size=1,
        max_size=6,
    )
)
def test_a_condition_finds_all_names_that_match(table, most, parts):
    pattern = PathPattern.of("".join(parts), are_paths=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lance_condition, "MOST_TERMS", most)
        condition = condition_of(pattern, FOLDERS)
    matching = {name for name in NAMES if pattern.matches(name)}
    if condition is None:
        assert not matching
    elif "LIKE" in condition:
        assert matching <= found(table, condition)
    else:
        assert matching == found(table, condition)


@pytest.mark.parametrize(
    ("whole", "condition"),
    [
        ("*/2024/*", "(folder IN ('/a/b/2024/', '/b/2024/', '/b/2024/a/'))"),
        ("/c/*", "((folder >= '/c/00/' AND folder <= '/c/19/'))"),
        ("*'*", "path LIKE '%''%'"),
        ("*/2024/*.jpg", "(folder IN ('/a/b/2024/', '/b/2024/', '/b/2024/a/')) AND path LIKE"),
        ("*.jpg", "path LIKE '%.jpg'"),
        ("/b/[2-9]*/*", "(folder IN ('/b/20%/', '/b/2024/', '/b/2024/a/'))"),
    ],
)
def test_folders_are_named_where_they_decide(whole, condition):
    made = condition_of(PathPattern.of(whole, are_paths=True), FOLDERS)
    assert made.startswith(condition), made
    assert made == condition or "LIKE" in made


def test_of_every_name():
    assert condition_of(PathPattern.of("*", are_paths=True), FOLDERS).count("LIKE") == 0


def test_without_a_folder_that_fits():
    assert condition_of(PathPattern.of("*/nowhere/*", are_paths=True), FOLDERS) is None
    assert condition_of(PathPattern.of("*", are_paths=True), []) is None


def test_too_many_folders_are_not_named(monkeypatch):
    every = [f"/{n:04}/{half}/" for n in range(100) for half in "ab"]
    pattern = PathPattern.of("*/a/*", are_paths=True)
    assert "LIKE" not in condition_of(pattern, every)
    monkeypatch.setattr(lance_condition, "MOST_TERMS", 99)
    assert condition_of(pattern, every) == "path LIKE '%/a/%'"


def test_names_in_conditions():
    pattern = PathPattern.of("/it's/50%_\\*.jpg", are_paths=True)
    assert where_path(pattern) == r"path LIKE '/it''s/50\%\_\\%.jpg'"
