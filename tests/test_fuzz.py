"""Mutated photos, folders, recipes, checkpoints and features: one clear line or a good result."""

import io
import json
import random
import resource
import shutil
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.data.dataset import Dataset
from mrnn.data.features import extract_features, load_features
from mrnn.errors import MRNNError
from mrnn.model.checkpoint import Checkpoint
from mrnn.model.heads import RANKING
from mrnn.retrieval.index_writer import PENDING, index_writer
from mrnn.retrieval.indexing import RankingModel, _photo_entry
from mrnn.retrieval.ranking import Ranker
from mrnn.retrieval.search import RetrievalIndex
from mrnn.training.recipe import RECIPES, load_recipe

MUTATIONS = 2_000
HEADERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f")
SECONDS, GIGABYTES = 10, 2
few = settings(
    max_examples=40, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def seeds():
    """Small good photos in every format, plain and odd."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 40, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    exif = Image.Exif()
    exif[274] = 6
    kinds = [
        *((rgb, kind, {}) for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")),
        (rgb, "JPEG", {"progressive": True, "exif": exif}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgba, "PNG", {}),
        (rgb.convert("P"), "PNG", {}),
        (Image.fromarray(noise[..., 0].astype(np.uint16) * 200), "PNG", {}),
        (rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}),
        (rgba, "WEBP", {"lossless": True}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
    ]
    for image, kind, options in kinds:
        file = io.BytesIO()
        image.save(file, kind, **options)
        yield file.getvalue()


def mutated(content, chance):
    """Bytes flipped, a header overwritten, a part cut off, doubled, zeroed or taken away."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(data) or 1)
        size = chance.choice((1, 2, 4, 16, 200))
        match chance.randrange(7):
            case 0 | 1:
                for _ in range(size):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            case 2:  # sizes, counts and offsets are at the beginning
                start = chance.randrange(min(64, len(data)))
                data[start : start + 4] = chance.choice(HEADERS)
            case 3:
                del data[max(1, place) :]
            case 4:
                data[place:place] = data[place : place + size]
            case 5:
                data[place : place + size] = bytes(size)
            case 6 if len(data) > size + 1:
                del data[place : place + size]
    return bytes(data)


def one_line(error, *names):
    assert len(str(error).splitlines()) == 1, error
    assert any(str(name) in str(error) for name in names), error


@pytest.fixture
def within_bounds():
    """A test may raise the greatest memory that the process ever took by 2 GB at most."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < GIGABYTES * 2**20


@pytest.mark.slow
def test_mutated_photos_are_captioned_or_refused_in_a_line(
    checkpoint, colour_encoder, tmp_path, within_bounds
):
    captioner, chance, originals = (
        Captioner(checkpoint, colour_encoder),
        random.Random(0),
        [*seeds()],
    )
    photos = []
    for number in range(MUTATIONS):
        photo = tmp_path / f"{number:04}.jpg"
        photo.write_bytes(mutated(originals[number % len(originals)], chance))
        photos.append(photo)
    failed, start = 0, time.monotonic()
    for photo, result in zip(photos, captioner.stream(photos), strict=True):
        assert time.monotonic() - start < SECONDS, photo
        start = time.monotonic()
        assert bool(result.error) != bool(result.captions)
        if result.error:
            failed += 1
            one_line(result.error, photo)
    assert MUTATIONS / 10 < failed < MUTATIONS * 0.9


@st.composite
def mutations(draw, content):
    return mutated(content, draw(st.randoms(use_true_random=False)))


def attempt(load, *names):
    """Whether it loads; if not, the error is one of ours, on one line, with a name."""
    start = time.monotonic()
    try:
        load()
    except MRNNError as error:
        one_line(error, *names)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("name", ["dataset.json", "captions.jsonl"])
@few
@given(data=st.data())
def test_a_mutated_dataset_folder(data, colours, within_bounds, name):
    file = colours.folder / name
    content = file.read_bytes()
    try:
        file.write_bytes(data.draw(mutations(content)))
        attempt(lambda: Dataset.load(colours.folder), colours.folder)
    finally:
        file.write_bytes(content)


@few
@given(data=st.data(), recipe=st.sampled_from(sorted(RECIPES.glob("*.toml"))))
def test_a_mutated_recipe(data, tmp_path, recipe):
    file = tmp_path / "recipe.toml"
    file.write_bytes(data.draw(mutations(recipe.read_bytes())))
    attempt(lambda: load_recipe(file), file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values),
    max_leaves=5,
)


@few
@given(data=st.data())
def test_a_recipe_with_any_value(data, tmp_path):
    content = tomllib.loads((RECIPES / "flickr8k.toml").read_text())
    table = data.draw(st.sampled_from([key for key in content if isinstance(content[key], dict)]))
    key = data.draw(st.sampled_from(sorted(content[table])))
    value = data.draw(json_values)
    setting = f"{table}.{key}={json.dumps(value)}"
    attempt(lambda: load_recipe("flickr8k", [setting]), "flickr8k", setting[:20])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabulary.txt"])
@few
@given(data=st.data())
def test_a_mutated_checkpoint(data, checkpoint, tmp_path, within_bounds, name):
    folder = tmp_path / "model"
    checkpoint.save(folder)
    file = folder / name
    file.write_bytes(data.draw(mutations(file.read_bytes())))
    attempt(lambda: Checkpoint.load(folder), folder)


@few
@given(data=st.data())
def test_a_checkpoint_with_any_value_in_its_config(data, checkpoint, tmp_path, within_bounds):
    folder = tmp_path / "model"
    checkpoint.save(folder)
    content = json.loads((folder / "config.json").read_text())
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    (folder / "config.json").write_text(json.dumps(content))
    attempt(lambda: Checkpoint.load(folder), folder)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@few
@given(data=st.data())
def test_mutated_features(data, colours, colour_encoder, within_bounds, suffix):
    file = extract_features(colours, colour_encoder).with_suffix(suffix)
    content = file.read_bytes()
    try:
        file.write_bytes(data.draw(mutations(content)))
        attempt(lambda: load_features(colours, colour_encoder.identity), file.parent)
    finally:
        file.write_bytes(content)


@few
@given(data=st.data())
def test_a_mutated_ranking(data, ranking_run, checkpoint, within_bounds):
    file = ranking_run / RANKING
    content = file.read_bytes()
    try:
        file.write_bytes(data.draw(mutations(content)))
        attempt(lambda: Ranker.load(ranking_run, Checkpoint.load(ranking_run)), file)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["config.json", "entries-1.jsonl", "values-1.npy", "vectors-1.npy"]
)
@few
@given(data=st.data())
def test_a_mutated_index(data, colours, ranking_run, tmp_path, within_bounds, name):
    folder = tmp_path / "index"
    if not folder.exists():
        RetrievalIndex.build([image.path for image in colours.images[:5]], folder, ranking_run)
    file = folder / name
    content = file.read_bytes()
    try:
        file.write_bytes(data.draw(mutations(content)))
        attempt(lambda: RetrievalIndex.load(folder, ranking_run).search("red", paths="*"), folder)
    finally:
        file.write_bytes(content)


def test_the_bounds_hold_what_is_tested_here():
    assert {len(seed) > 40 for seed in seeds()} == {True}
    for seed in seeds():
        Image.open(io.BytesIO(seed)).load()
    assert Path(RECIPES).is_dir()


@few
@given(data=st.data())
def test_a_mutated_remainder_of_an_interrupted_index(
    data, colours, colour_encoder, ranking_run, tmp_path, within_bounds
):
    """Whatever it holds, the index comes to hold just the photos."""
    folder, photos = tmp_path / "index", [image.path for image in colours.images[:3]]
    shutil.rmtree(folder, ignore_errors=True)
    config = RankingModel.load(ranking_run).config("photos")
    kind = np.dtype(np.float16)
    with suppress(KeyboardInterrupt), index_writer(folder, config, 7) as writer:
        for photo in photos:
            writer.add(_photo_entry(photo), np.ones(7, kind))
        raise KeyboardInterrupt
    file = folder / PENDING
    file.write_bytes(data.draw(mutations(file.read_bytes())))
    index = RetrievalIndex.build(photos, folder, ranking_run)
    assert [json.loads(entry)["path"] for entry in index.files.entries] == list(map(str, photos))
    assert not file.exists()
