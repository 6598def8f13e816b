"""Mutated feature stores, indexes and imported features: one clear line, or a good result."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from mrnn.data.features import extract_features, load_features
from mrnn.data.imported_features import read_array
from mrnn.retrieval.index.index import open_index
from mrnn.retrieval.search import PhotoIndex
from mrnn.retrieval.search_page import search_page
from tests.faults.sandbox import check_mutations, check_odd_files

FEW, MANY = 20, 700
FILES = ("config.json", "shard-000001.safetensors")
cases = pytest.mark.parametrize(
    "cases", [FEW, pytest.param(MANY, marks=pytest.mark.slow)], ids=["few", "many"]
)


@pytest.fixture
def tmp_path():
    """Of a length that paths have: a message has some twice."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def features(colours, colour_encoder):
    """A feature store of a dataset, and what loads all of it."""
    folder = extract_features(colours, colour_encoder).folder

    def load():
        load_features(colours, colour_encoder.identity).of(colours.images)

    return folder, load, [folder, colours.images[0].path.parent]


@pytest.fixture
def index(colours, model_with_heads, tmp_path):
    """An index of photos, and what searches it in every way."""
    folder, photo = tmp_path / "index", colours.images[0].path
    PhotoIndex.build([image.path for image in colours.images[:5]], folder, model_with_heads)

    def load():
        opened = PhotoIndex.load(folder, model_with_heads)
        for query in ("red", photo):
            search_page("red", opened.search(query, top=3))
        opened.search("red", paths="*", min_score=0.0)

    return folder, load, [folder, "No photo of the index"]


@pytest.fixture
def sentences(colours, model_with_heads, tmp_path):
    """The same of sentences."""
    folder, photo = tmp_path / "index", colours.images[0].path
    PhotoIndex.build_sentences(["a red wall", "the wall is green"], folder, model_with_heads)

    def load():
        search_page("red", PhotoIndex.load(folder, model_with_heads).search(photo, top=3))

    return folder, load, [folder]


@pytest.mark.parametrize("store", ["features", "index", "sentences"])
@pytest.mark.parametrize("file", FILES, ids=["c", "s"])
@cases
def test_store(request, store, file, cases):
    folder, load, names = request.getfixturevalue(store)
    check_mutations(folder / file, load, *names, cases=cases)


@pytest.mark.parametrize("file", FILES, ids=["c", "s"])
@cases
def test_written_again(colours, model_with_heads, tmp_path, file, cases):
    """They are brought up to date as far as they can be, or refused."""
    folder, photos = tmp_path / "index", [image.path for image in colours.images[:4]]
    PhotoIndex.build(photos[:3], folder, model_with_heads)
    whole = {path: path.read_bytes() for path in folder.iterdir() if path.name != file}

    def load():
        try:
            PhotoIndex.build(photos, folder, model_with_heads)
            assert len(open_index(folder)) >= 3
        finally:
            for path in folder.iterdir():
                if path.name != file and path not in whole:
                    path.unlink()
            for path, content in whole.items():
                path.write_bytes(content)

    check_mutations(folder / file, load, folder, cases=cases)


@pytest.mark.parametrize("store", ["features", "index"])
@pytest.mark.parametrize("file", FILES, ids=["c", "s"])
def test_odd_file(request, store, file):
    folder, load, names = request.getfixturevalue(store)
    check_odd_files(folder / file, load, *names)


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat"])
@cases
def test_mutated_imported_features(tmp_path, suffix, cases):
    folder = tmp_path / "made"
    folder.mkdir()
    file, array = folder / f"f.{suffix}", np.arange(60, dtype=np.float32).reshape(6, 10)
    match suffix:
        case "npy":
            np.save(file, array)
        case "npz":
            np.savez_compressed(file, features=array, more=array[:2])
        case "mat":
            pytest.importorskip("scipy.io").savemat(file, {"features": array})
    check_mutations(file, lambda: np.array(read_array(file)).sum(), file, cases=cases)
    check_odd_files(file, lambda: read_array(file), file)
