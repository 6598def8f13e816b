"""Mutated photos, folders and features, and settings of any value: a clear line or a good result.

Files of models are in `tests.faults`.
"""

import io
import json
import random
import resource
import time
import tomllib
from contextlib import contextmanager
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
from mrnn.retrieval.search import PhotoIndex
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


@contextmanager
def mutated_file(data, file):
    """A file whose bytes are mutated meanwhile."""
    content = file.read_bytes()
    try:
        file.write_bytes(data.draw(mutations(content)))
        yield
    finally:
        file.write_bytes(content)


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


@pytest.mark.parametrize("name", ["config.json", "shard-000001.safetensors"])
@few
@given(data=st.data())
def test_mutated_features(data, colours, colour_encoder, within_bounds, name):
    folder = extract_features(colours, colour_encoder).folder
    with mutated_file(data, folder / name):
        attempt(
            lambda: load_features(colours, colour_encoder.identity).of(colours.images),
            folder, colours.images[0].path.parent,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "shard-000001.safetensors"])
@pytest.mark.parametrize("paths", [None, "*"])
@few
@given(data=st.data())
def test_a_mutated_index(data, colours, model_with_heads, tmp_path, within_bounds, name, paths):
    folder = tmp_path / "index"
    if not folder.exists():
        PhotoIndex.build([image.path for image in colours.images[:5]], folder, model_with_heads)
    with mutated_file(data, folder / name):
        attempt(
            lambda: PhotoIndex.load(folder, model_with_heads).search("red", top=3, paths=paths),
            folder, "No photo of the index",
        )  # fmt: skip


@few
@given(data=st.data())
def test_a_mutated_shard_is_never_written_on(data, colours, model_with_heads, tmp_path):
    """An index is renewed as far as it can be, or refused; nobody else's file is touched."""
    folder, photos = tmp_path / "index", [image.path for image in colours.images[:5]]
    if not folder.exists():
        PhotoIndex.build(photos[:4], folder, model_with_heads)
        (tmp_path / "index" / "mine.txt").write_text("dear")
    whole = {file: file.read_bytes() for file in folder.iterdir()}
    try:
        for name in ("config.json", "shard-000001.safetensors"):
            (folder / name).write_bytes(data.draw(mutations(whole[folder / name])))
        attempt(lambda: PhotoIndex.build(photos, folder, model_with_heads), folder)
        assert (folder / "mine.txt").read_text() == "dear"
    finally:
        for file in folder.iterdir():
            file.unlink()
        for file, content in whole.items():
            file.write_bytes(content)


def test_the_bounds_hold_what_is_tested_here():
    assert {len(seed) > 40 for seed in seeds()} == {True}
    for seed in seeds():
        Image.open(io.BytesIO(seed)).load()
    assert Path(RECIPES).is_dir()
