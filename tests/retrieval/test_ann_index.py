import numpy as np
import pytest

from mrnn.errors import OptionsError
from mrnn.retrieval import ann_index as neighbour_graph
from mrnn.retrieval.ann_index import NeighbourGraph, require_usearch


@pytest.fixture
def vectors():
    pytest.importorskip("usearch", reason="the extra `approximate` is not installed")
    normal = np.random.default_rng(0).standard_normal((3000, 16), dtype=np.float32)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


@pytest.fixture
def file(vectors, tmp_path):
    file = tmp_path / "graph"
    file.write_bytes(NeighbourGraph.over(vectors).to_bytes())
    return file


def test_it_finds_nearly_all_that_the_product_finds(vectors, file):
    graph = NeighbourGraph.open(file, 16)
    assert len(graph) == 3000
    found = 0
    for query in vectors[:20]:
        near = graph.nearest(query, 30)
        assert len(near) == 120
        assert (np.diff(near) > 0).all()
        found += len(set(near) & set(np.argsort(-(vectors @ query))[:30]))
    assert found >= 0.98 * 20 * 30


def test_a_small_one_gives_all_rows(vectors):
    graph = NeighbourGraph.over(vectors[:50])
    assert graph.nearest(vectors[0], 50).tolist() == list(range(50))


def test_rows_are_added_in_blocks(vectors, file, monkeypatch):
    monkeypatch.setattr(neighbour_graph, "ROWS_AT_ONCE", 1024)
    near = NeighbourGraph.over(vectors).nearest(vectors[2999], 1)
    assert 2999 in near


def test_it_is_still_there_for_whom_opened_it(vectors, file):
    graph = NeighbourGraph.open(file, 16)
    file.unlink()
    assert 7 in graph.nearest(vectors[7], 1)


@pytest.mark.parametrize("content", [b"", b"no graph at all", None])
def test_damaged_files(file, content):
    file.write_bytes(file.read_bytes()[:50_000] if content is None else content)
    with pytest.raises(ValueError, match=r"^graph: "):
        NeighbourGraph.open(file, 16)


def test_vectors_of_another_size(file):
    with pytest.raises(ValueError, match=r"^graph: vectors of 16 numbers, not of 8$"):
        NeighbourGraph.open(file, 8)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(neighbour_graph, "find_spec", lambda _: None)
    with pytest.raises(
        OptionsError,
        match=r"^Approximate search needs: pip install 'mrnn\[approximate\]'; or run mrnn index "
        "without --approximate$",
    ):
        require_usearch()
