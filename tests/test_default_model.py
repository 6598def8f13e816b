"""The model that ships in the package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.data.images import load_image
from mrnn.model.checkpoint import DEFAULT_MODEL
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.model.familiarity import UNFAMILIAR, VALUES
from mrnn.tokenizer import Vocabulary
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
    assert size <= 20_000_000
    assert not (DEFAULT_MODEL / "resume").exists()
    assert (DEFAULT_MODEL / "MODEL_CARD.md").exists()


def test_its_familiarity_takes_a_few_kilobytes(captioner):
    familiarity = captioner.checkpoint.familiarity
    assert familiarity.mean.size + familiarity.directions.size <= VALUES


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


# Exact, and the same whatever the machine does beside it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoding", "reranking"),
    [
        (None, None),
        (DecodingOptions(beam_size=40, n_best=5), None),
        (DecodingOptions(beam_size=5, n_best=3), RerankingOptions()),
        (DecodingOptions(beam_groups=3, n_best=3), RerankingOptions()),
        (DecodingOptions(temperature=1, n_best=3), RerankingOptions()),
    ],
    ids=["default", "int8 search", "beam", "groups", "sampled"],
)
def test_log_probabilities_are_exact_whatever_the_search(captioner, decoding, reranking):
    """Against the exact network, a word at a time."""
    network, vocabulary = captioner.checkpoint.network, captioner.checkpoint.vocabulary
    encoder = captioner.encoder
    photos = [load_image(photo) for photo in PHOTOS[:3]]
    features = np.stack([encoder.encode(encoder.preprocess(photo)) for photo in photos])
    images = network.encode_image(features)
    for image, captions in zip(
        images, captioner.describe(features, decoding, reranking), strict=True
    ):
        for caption in captions:
            words = vocabulary.encode(word.word for word in caption.words)
            state, last, nats = network.initial_state(1), Vocabulary.BOS, []
            for word in (*words, Vocabulary.EOS):
                found, state = network.step(np.array([last]), state, image[None])
                assert found.dtype == np.float32
                nats.append(float(found[0, word]))
                last = word
            told = [word.log_probability for word in caption.words]
            assert told == pytest.approx(nats[:-1], abs=6e-5)  # the fifth decimal is rounded
            assert caption.log_probability == pytest.approx(sum(nats), abs=6e-5)


def captions_of(photos, threads, *flags):
    """What the command prints for each photo, in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "mrnn", "caption", "--json", *flags, *map(str, photos)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [json.loads(line)["image"] for line in lines] == list(map(str, photos))
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--beam-size", "5", "--n-best", "3", "--similarity-weight", "0"),
        ("--temperature", "1", "--n-best", "3", "--seed", "7"),
        ("--consensus", "self"),
    ],
    ids=["default", "beam", "sampled", "consensus"],
)
def test_a_photo_has_the_same_bytes_alone_in_a_batch_and_on_more_threads(flags):
    together = captions_of(PHOTOS, 1, *flags)
    assert captions_of(PHOTOS[::-1], 2, *flags) == together[::-1]
    assert captions_of(PHOTOS[3:4], 2, *flags) == together[3:4]
