"""The runtime and PyTorch agree with golden.json, and so with each other.

Features of the runtime differ a little, as the files of its encoders have weights of int16. What
follows from a feature is compared for the one in golden.json.
"""

import base64
import json

import numpy as np
import pytest
from PIL import features

from mrnn.captioning.captioner import Captioner
from tests.example_photos import write_photos
from tests.golden.make_golden import GOLDEN
from tests.golden.observe import (
    APPROXIMATE,
    captions_by_exact_search,
    captions_by_int8_search,
    checksums,
    crops_of,
    hypotheses_of,
    nats_of,
)
from tests.golden.torch_captioner import by_torch

FEATURES = {"runtime": 1e-3, "torch": 3e-4}
"""Greatest difference, relative to the length of a feature; float16 has 3e-4."""
NATS = 1e-4
TEXT_NATS = {"runtime": 0.01, "torch": NATS}
"""Of a whole caption, whose feature was made anew."""
AGAIN = "run: python -m tests.golden.make_golden"

golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module", params=["runtime", "torch"])
def side(request):
    """Which networks, a captioner with them, and one that reranks by consensus."""
    captioners = Captioner.load(), Captioner.load(consensus="self")
    if request.param == "torch":
        captioners = map(by_torch, captioners)
    return request.param, *captioners


@pytest.fixture(params=golden["photos"])
def photo(request):
    return request.param


def feature_of(photo):
    stored = base64.b64decode(golden["photos"][photo]["feature"])
    return np.frombuffer(stored, "<f2").astype(np.float32)


def test_the_file_is_of_the_model_that_ships(side, photos):
    assert golden["model"] == side[1].checkpoint.fingerprint, AGAIN
    assert golden["photos"].keys() == photos.keys(), AGAIN


def test_pixels_and_features(side, photos, photo):
    name, captioner, _ = side
    crops = crops_of(captioner, photos[photo])
    if golden["jpeg"] == features.version("libjpeg_turbo"):
        assert checksums(crops) == golden["photos"][photo]["pixels"]
    expected = feature_of(photo)
    difference = np.linalg.norm(captioner.encoder.encode(crops) - expected)
    assert difference <= FEATURES[name] * np.linalg.norm(expected)


def test_log_probabilities_of_sentences(side, photo):
    found = nats_of(side[1], feature_of(photo))
    assert found.keys() == golden["photos"][photo]["nats"].keys()
    for sentence, nats in golden["photos"][photo]["nats"].items():
        assert found[sentence] == pytest.approx(nats, abs=NATS)


def test_hypotheses_and_terms_of_reranking(side, photo):
    found = hypotheses_of(side[1], feature_of(photo))
    expected = golden["photos"][photo]["hypotheses"]
    assert [each["text"] for each in found] == [each["text"] for each in expected]
    for one, other in zip(found, expected, strict=True):
        for key in other.keys() - {"text"}:
            assert one[key] == pytest.approx(other[key], abs=NATS), key


def test_captions(side, photos, photo):
    name, captioner, consensus = side
    found = captions_by_exact_search(captioner, consensus, photos[photo])
    expected = golden["photos"][photo]["captions"]
    assert found.keys() | APPROXIMATE.keys() == expected.keys()
    if name == "runtime":
        found |= captions_by_int8_search(captioner, photos[photo])
    for how, captions in found.items():
        assert [text for text, _ in captions] == [text for text, _ in expected[how]], how
        for (_, nats), (_, other) in zip(captions, expected[how], strict=True):
            assert nats == pytest.approx(other, abs=TEXT_NATS[name]), how
