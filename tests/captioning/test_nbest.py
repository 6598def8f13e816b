import json

import numpy as np
import pytest
from PIL import Image

from mrnn.captioning.captioner import Captioner
from mrnn.captioning.consensus import Consensus, ConsensusOptions, TrainingCaptions
from mrnn.captioning.nbest import (
    NBest,
    PhotoFeatures,
    find_neighbours,
    rank_by_each_other,
    rank_by_neighbours,
    read_nbest,
)
from mrnn.data.features import extract_features, load_features
from mrnn.errors import DataError
from mrnn.model.config import DecodingOptions
from mrnn.retrieval.nearest import FeatureSpace

TEXTS = ["a blue wall", "a green wall", "the wall is red"]
OPTIONS = ConsensusOptions(neighbours=5)


@pytest.fixture
def data(colours, colour_encoder):
    extract_features(colours, colour_encoder)
    return colours


@pytest.fixture
def captions(data):
    return TrainingCaptions(data.split("train"))


@pytest.fixture
def search(data, captions, colour_encoder):
    features = load_features(data, colour_encoder.identity).of(captions.images)
    photos = PhotoFeatures(data, colour_encoder.identity, lambda: colour_encoder)
    return FeatureSpace(features), photos


def nbest(image="some.jpg", texts=TEXTS, **more):
    return NBest.model_validate({"image": image, "captions": texts, **more})


def texts_of(ranked):
    return [caption.text for caption in ranked.captions]


def file_of(tmp_path, *lines):
    file = tmp_path / "nbest.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


# Lines


def test_what_a_line_says_stays(tmp_path):
    line = {
        "image": "é.jpg",
        "captions": [{"text": "a dog", "log_probability": -1.5}, {"text": "the dog"}],
        "familiarity": 0.9,
        "error": None,
    }
    (ranked,) = rank_by_each_other(read_nbest(file_of(tmp_path, json.dumps(line), "")), "cider")
    found = json.loads(ranked.model_dump_json(exclude_unset=True))
    for caption in found["captions"]:
        assert caption.pop("consensus").keys() == {"score", "rank", "rank_before"}
    assert found == line


def test_plain_text_will_do_for_a_hypothesis():
    assert texts_of(nbest()) == TEXTS


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"image": "a.jpg"}', "captions is missing"),
        ('{"image": 3, "captions": []}', "image: expected text, not 3"),
        ('{"image": "a", "captions": [{"txt": "a"}]}', r"captions\[0\]\.text is missing"),
        ('{"image": "a", "captions": "a dog"}', "captions: expected a list"),
        ('{"image": "a", "captions": [], "feature": ["x"]}', r"feature\[0\]: expected"),
        (
            '{"image": "a", "captions": [], "feature": [NaN]}',
            r"feature\[0\]: .* finite number, not nan",
        ),
        ("[1]", r"expected an object, not \[1\]"),
        ("a dog", r"not JSON \(expected value at column 1"),
    ],
)
def test_a_bad_line_is_told_with_its_number(tmp_path, line, problem):
    file = file_of(tmp_path, '{"image": "a.jpg", "captions": ["a dog"]}', line)
    with pytest.raises(
        DataError, match=rf'nbest\.jsonl:2: {problem}.*; expected a line such as {{"'
    ):
        read_nbest(file)


def test_an_image_with_two_lines(tmp_path):
    a, b = (json.dumps({"image": name, "captions": ["a dog"]}) for name in "ab")
    with pytest.raises(
        DataError, match=r"nbest\.jsonl:4: image 'a' is on line 1 already; expected"
    ):
        read_nbest(file_of(tmp_path, a, "", b, a))


def test_a_file_without_lists(tmp_path):
    with pytest.raises(DataError, match=r"nbest\.jsonl: no n-best lists, so there is nothing to"):
        read_nbest(file_of(tmp_path, "", " "))


# Ranking


@pytest.mark.parametrize(
    "texts", [[], ["a dog"], ["a dog", "a dog"], ["", "a dog", "", "the dog runs"]]
)
def test_lists_of_few_hypotheses(texts, captions, search):
    lists = [nbest(texts=texts, feature=[1.0] * 7), nbest()]
    near = find_neighbours(lists, captions, 5, (search[0], lambda each: np.ones(7)))
    for ranked in (
        rank_by_each_other(lists, "cider"),
        list(rank_by_neighbours(lists, captions, near, OPTIONS, evidence=True)),
    ):
        assert sorted(texts_of(ranked[0])) == sorted(texts)
        places = [caption.consensus.rank_before for caption in ranked[0].captions]
        assert sorted(places) == [*range(1, len(texts) + 1)]
        assert [c.consensus.rank for c in ranked[0].captions] == [*range(1, len(texts) + 1)]
    if texts[:1] == [""]:
        assert texts_of(ranked[0])[-2:] == ["", ""]


@pytest.mark.parametrize("how", ["feature", "name", "path", "photo", "neighbours"])
def test_neighbours_are_found_each_way(how, data, captions, search, tmp_path):
    dev = next(image for image in data.split("dev") if "red" in image.name)
    red = [image.name for image in captions.images if "red" in image.name]
    if how == "photo":
        Image.open(dev.path).save(tmp_path / "other.png")
    features = load_features(data, search[1].identity).of([dev])[0].tolist()
    each = {
        "feature": nbest(feature=features),
        "name": nbest(dev.name),
        "path": nbest(str(dev.path)),
        "photo": nbest(str(tmp_path / "other.png")),
        "neighbours": nbest(neighbours=red),
    }[how]
    near = find_neighbours([each], captions, 5, None if how == "neighbours" else search)
    (ranked,) = rank_by_neighbours([each], captions, near, OPTIONS, evidence=True)
    assert texts_of(ranked)[0] == "the wall is red"
    first = ranked.captions[0]
    assert (first.consensus.rank, first.consensus.rank_before) == (1, 3)
    assert first.closest.caption == "The wall is red"
    assert first.closest.similarity == pytest.approx(10)
    assert first.closest.copies == 8
    assert {caption.closest.copies for caption in ranked.captions[1:]} == {8}
    assert len(ranked.evidence) == 5
    assert {neighbour.image for neighbour in ranked.evidence} <= set(red)
    assert ranked.evidence[0].captions == ("A red wall .", "The wall is red")
    assert (ranked.evidence[0].distance is None) == (how == "neighbours")


def test_what_was_invented_has_no_copies(captions):
    each = nbest(texts=["a red green wall"], neighbours=[captions.images[0].name])
    near = find_neighbours([each], captions, 5, None)
    (ranked,) = rank_by_neighbours([each], captions, near, OPTIONS, evidence=True)
    assert ranked.captions[0].closest.copies == 0
    assert ranked.captions[0].closest.image == captions.images[0].name


def test_a_training_photo_is_not_its_own_neighbour(captions, search):
    own = captions.images[0].name
    lists = [nbest(own), nbest(own, neighbours=[own, captions.images[1].name])]
    by_feature, by_name = find_neighbours(lists, captions, 100, search)
    assert 0 not in by_feature.places
    assert len(by_feature.places) == 23  # all others, though more were asked for
    assert by_name.places.tolist() == [1]


def test_ranked_as_the_captioner_ranks(data, captions, checkpoint, colour_encoder):
    """The same lists by either road."""
    consensus = Consensus.load(data.folder, checkpoint, OPTIONS)
    captioner = Captioner(checkpoint, colour_encoder, consensus)
    options = DecodingOptions(n_best=10, max_length=5)
    paths = [image.path for image in data.split("dev")]
    expected = captioner.caption(paths, options)
    plain = Captioner(checkpoint, colour_encoder).caption(paths, options)
    lists = [NBest.model_validate_json(result.model_dump_json()) for result in plain]
    _, space = consensus._training
    photos = PhotoFeatures(data, checkpoint.encoder, lambda: colour_encoder)
    near = find_neighbours(lists, captions, 5, (space, photos))
    for ranked, result in zip(
        rank_by_neighbours(lists, captions, near, OPTIONS), expected, strict=True
    ):
        assert texts_of(ranked) == [caption.text for caption in result.captions]


def test_neighbours_that_are_not_in_the_data(captions):
    each = nbest("x.jpg", neighbours=[captions.images[0].name, "y.jpg"])
    with pytest.raises(
        DataError,
        match=r"^x\.jpg: its neighbour 'y\.jpg' is not in the train split; expected names",
    ):
        find_neighbours([each], captions, 1, None)


def test_a_feature_of_another_size(captions, search):
    with pytest.raises(DataError, match=r"^x\.jpg: A feature has 2 values, but those of the trai"):
        find_neighbours([nbest(), nbest("x.jpg", feature=[1, 2])][1:], captions, 5, search)


def test_a_name_that_no_path_can_have(captions, search):
    with pytest.raises(DataError, match=r"it is not in .*data\. Give its line a feature"):
        find_neighbours([nbest("x\0y")], captions, 3, search)


def test_an_image_that_is_nowhere(captions, search, data):
    with pytest.raises(DataError, match=r"none\.jpg: no such file; and it is not in .*data\. Give"):
        find_neighbours([nbest("none.jpg")], captions, 5, search)
