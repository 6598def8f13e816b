"""The model that ships in the package."""

import numpy as np
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.familiarity import BYTES, UNFAMILIAR
from tests.example_photos import ASTRONAUT, PAGE, PHOTOS

pytestmark = pytest.mark.skipif(
    not DEFAULT_MODEL.exists(), reason=f"no model ships in this tree: {DEFAULT_MODEL} is missing"
)


@pytest.fixture(scope="module")
def captioner():
    return Captioner.load()


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def test_it_is_small_enough_to_ship():
    size = sum(file.stat().st_size for file in DEFAULT_MODEL.rglob("*") if file.is_file())
    assert size <= 15 * 2**20
    assert not (DEFAULT_MODEL / "resume").exists()
    assert (DEFAULT_MODEL / "MODEL_CARD.md").exists()


def test_its_familiarity_takes_a_few_kilobytes(captioner):
    familiarity = captioner.checkpoint.familiarity
    assert familiarity.mean.numel() + familiarity.directions.numel() <= BYTES


def test_it_sees_a_person_in_a_portrait(captioner):
    result = captioner.caption(ASTRONAUT)
    said = set(result.captions[0].text.split())
    assert said & {"person", "woman", "man", "girl", "boy", "lady", "child"}
    assert result.familiarity > UNFAMILIAR


def test_it_says_that_a_page_is_unlike_what_it_knows(captioner):
    assert captioner.caption(PAGE).familiarity < UNFAMILIAR


def test_it_says_that_noise_is_unlike_what_it_knows(captioner, noise):
    assert captioner.caption(noise).familiarity < UNFAMILIAR


def test_it_knows_every_word_that_it_says(captioner, noise):
    results = captioner.caption([*PHOTOS, noise])
    captions = [caption for result in results for caption in result.captions]
    assert len(captions) == len(PHOTOS) + 1
    for caption in captions:
        assert caption.words
        assert all(word.word in captioner.checkpoint.vocabulary for word in caption.words)
    assert len({caption.text for caption in captions}) > len(captions) / 2
