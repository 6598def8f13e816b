import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrnn.data.images import load_image
from mrnn.errors import CheckpointError, DataError
from mrnn.model.encoder_classes import read_tag_file
from mrnn.model.image_encoder import SHIPPED, load_encoder
from mrnn.model.tags import Tag, Tagger, plural
from tests.example_photos import ASTRONAUT
from tests.model.tiny_tags import (
    CLASSES,
    DETECTED,
    NAMES,
    PARENTS,
    SIZE,
    THRESHOLDS,
    WEIGHTS,
    feature,
    identity,
    write_tags,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tags(tmp_path_factory.mktemp("tags"))


@pytest.fixture(scope="module")
def tagger(folder):
    return Tagger.for_encoder(identity(), folder)


def ancestors(tag):
    return {tag} | {each for parent in PARENTS[tag] for each in ancestors(parent)}


def expected_probability(tag, row):
    """By the formula, a number at a time."""
    odds = [0.0, 0.0]
    detected = [row[SIZE + i] / 8 for i, own in enumerate(DETECTED) if tag in ancestors(own)]
    if detected:
        best = min(max(*detected, 0.03), 0.99)
        odds[0] = math.log(best / (1 - best))
    raised = [math.exp(value / 2) for value in row[: len(CLASSES)]]
    own = [r for r, own in zip(raised, CLASSES, strict=True) if tag in ancestors(own)]
    if own:
        share = min(max(sum(own) / sum(raised), 1e-4), 1 - 1e-4)
        odds[1] = math.log(share / (1 - share))
    a, b, intercept = WEIGHTS[tag]
    return 1 / (1 + math.exp(-(a * odds[0] + b * odds[1] + intercept)))


rows = arrays(np.float32, (3, SIZE + 8), elements=st.floats(-20, 20, width=32))


@given(rows)
def test_probabilities_are_those_of_the_formula(tagger, features):
    found = tagger.probabilities(features)
    expected = [[expected_probability(t, row) for t in range(len(NAMES))] for row in features]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@given(rows)
def test_tags_are_likely_specific_and_in_order(tagger, features):
    for tags in tagger.tags(np.abs(features)):
        names = [tag.tag for tag in tags]
        assert len(set(names)) == len(names)
        places = [NAMES.index(name) for name in names]
        assert not any(
            other in ancestors(tag) for tag in places for other in places if other != tag
        )
        assert all(0 <= tag.probability <= 1 for tag in tags)
        assert all(tag.probability >= min(THRESHOLDS.values()) - 1e-3 for tag in tags)


def test_detected_tags_come_first_with_their_count(tagger):
    photo = feature(espresso=16, persons=(0.99, 2), dogs=(0.9, 1), poodle=14, beagle=14)
    (tags,) = tagger.tags(photo[None])
    assert [str(tag) for tag in tags] == ["2 persons", "dog", "espresso"]
    assert [tag.count for tag in tags] == [2, 1, None]


def test_a_breed_takes_the_count_of_its_dog(tagger):
    (tags,) = tagger.tags(feature(poodle=20, dogs=(0.9, 3))[None])
    assert [str(tag) for tag in tags] == ["3 poodles"]


def test_an_unsure_class_leaves_its_parent(tagger):
    unsure, unsurer = feature(poodle=16, beagle=16), feature(poodle=16, tabby=15.6, beagle=15.8)
    (breeds, animals) = tagger.tags(np.stack([unsure, unsurer]))
    assert [tag.tag for tag in breeds] == ["dog"]
    assert [tag.tag for tag in animals] == ["animal"]


def test_no_tags_of_a_photo_of_nothing(tagger):
    (tags,) = tagger.tags(feature(*[3] * 4)[None])
    assert [tag.tag for tag in tags] == ["animal"]  # three classes of four
    assert tagger.tags(np.empty((0, SIZE + 8), np.float32)) == []


def test_batches_do_not_change_probabilities(tagger):
    features = np.random.default_rng(0).normal(size=(2100, SIZE + 8)).astype(np.float16)
    alone = np.concatenate([tagger.probabilities(features[i : i + 1]) for i in (0, 999, 2099)])
    np.testing.assert_allclose(tagger.probabilities(features)[[0, 999, 2099]], alone, rtol=1e-5)


def test_scores_of_several_classifiers_are_averaged(tmp_path):
    from safetensors.numpy import load_file, save_file

    write_tags(tmp_path, "one")
    one = load_file(tmp_path / "tags.safetensors")
    two = {key.replace("one", "two"): value for key, value in one.items()}
    save_file(one | two, tmp_path / "tags.safetensors")
    both = Tagger.for_encoder(identity("one+two@9", 2 * SIZE), tmp_path)
    alone = Tagger.for_encoder(identity("one", SIZE), tmp_path)
    first, second = np.random.default_rng(0).normal(size=(2, 4, SIZE)).astype(np.float32)
    np.testing.assert_allclose(
        both.probabilities(np.concatenate([first, second], axis=1)),
        alone.probabilities((first + second) / 2),
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("colour", SIZE, "classifiers"),
        ("boxes", 8, "detector"),
        ("colour@320+boxes", SIZE + 8, "both"),
        ("other+colour", 5 + SIZE, "classifiers"),
        ("boxes+other", 8 + 5, "detector"),
        ("boxes+other+colour", 8 + 5 + SIZE, "both"),
    ],
)
def test_parts_with_classes_are_found(folder, name, size, kind):
    tagger = Tagger.for_encoder(identity(name, size), folder)
    assert tagger.classes.kind == kind
    assert len(tagger.tags(np.zeros((2, size), np.float32))) == 2


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("other", 5), ("one+two+colour", 3 + SIZE), ("colour", SIZE + 1), ("colour+other", SIZE),
        ("colour", SIZE - 1), ("boxes+colour", SIZE + 7),
    ],
)  # fmt: skip
def test_an_encoder_without_known_classes_has_no_tagger(folder, name, size):
    assert Tagger.for_encoder(identity(name, size), folder) is None


def test_no_tagger_of_imported_features_or_without_files(folder, tmp_path):
    imported = identity("colour", SIZE).model_copy(update={"resize_mode": None})
    assert Tagger.for_encoder(imported, folder) is None
    assert Tagger.for_encoder(identity("colour", SIZE), tmp_path) is None


def test_the_place_of_a_part_does_not_change_its_tags(folder, tagger):
    photo = feature(poodle=9, persons=(0.8, 2))
    turned = Tagger.for_encoder(identity("boxes+colour"), folder)
    other = np.concatenate([photo[SIZE:], photo[:SIZE]])
    assert turned.tags(other[None]) == tagger.tags(photo[None])
    among = Tagger.for_encoder(identity("boxes+other+colour", SIZE + 13), folder)
    other = np.concatenate([photo[SIZE:], np.ones(5), photo[:SIZE]])
    assert among.tags(other[None]) == tagger.tags(photo[None])


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("poodle", ("poodle",)), ("Poodles", ("poodle",)), ("tabby cats", ("tabby",)),
        ("tabbies", ("tabby",)), ("animal", ("animal",)), ("espressos", ("espresso",)),
        ("sofa", ()), ("", ()),
    ],
)  # fmt: skip
def test_find(tagger, word, names):
    assert tagger.find(word) == names


def test_find_knows_no_tag_that_the_encoder_has_no_class_of(folder):
    assert Tagger.for_encoder(identity("boxes", 8), folder).find("poodle") == ()


def test_score_is_the_probability_of_the_tag(tagger):
    features = np.stack([feature(tabby=10), feature(espresso=10)])
    np.testing.assert_array_equal(
        tagger.score("tabby cat", features), tagger.probabilities(features)[:, 5]
    )
    with pytest.raises(DataError, match="'sofa' is the name of no tag"):
        tagger.score("sofa", features)


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("person", "persons"), ("wine glass", "wine glasses"), ("bus", "buses"),
        ("couch", "couches"), ("sheep", "sheep"), ("computer mouse", "computer mice"),
        ("knife", "knives"), ("toothbrush", "toothbrushes"), ("berry", "berries"),
        ("toy", "toys"), ("skis", "skis"), ("box", "boxes"), ("scissors", "scissors"),
    ],
)  # fmt: skip
def test_plural(name, many):
    assert plural(name) == many


def test_json_has_no_count_that_is_not_known():
    assert json.loads(Tag(tag="dog", probability=0.5).model_dump_json()) == {
        "tag": "dog",
        "probability": 0.5,
    }
    counted = Tag(tag="dog", probability=0.5, count=2)
    assert Tag.model_validate_json(counted.model_dump_json()) == counted


def test_the_classes_that_ship_fit_the_encoders_that_ship():
    encoder = load_encoder()
    tagger = Tagger.for_encoder(encoder.identity)
    assert tagger.classes.kind == "both"
    feature = encoder.encode(encoder.preprocess(load_image(ASTRONAUT)))[None]
    assert 0.6 < tagger.classes.detections(feature, 0).max() <= 1
    (tags,) = tagger.tags(feature)
    assert (tags[0].tag, tags[0].count) == ("person", 1)


def test_the_tags_that_ship_are_words_that_a_person_would_say():
    file = read_tag_file(SHIPPED / "tags.json")
    names = [entry.names[0] for entry in file.tags]
    assert (len(file.imagenet), len(file.detector.tags)) == (1000, 80)
    assert len(set(names)) == len(names)
    every = {name for entry in file.tags for name in entry.names}
    assert all(name == name.lower() and len(name.split()) <= 6 for name in every)
    assert not every & {"entity", "artifact", "object", "chordate", "carnivore", "placental"}
    above = {entry.names[0]: {names[p] for p in entry.parents} for entry in file.tags}
    assert above["golden retriever"] == {"retriever"}
    assert above["tabby"] == {"cat"}
    assert above["cat"] == {"animal"}
    assert {"person", "dog", "espresso", "vehicle", "fruit", "furniture"} <= set(names)
    sizes = [(SHIPPED / name).stat().st_size for name in ("tags.json", "tags.safetensors")]
    assert sum(sizes) <= 4e6


def test_a_list_of_another_length_than_the_weights_is_refused(tmp_path):
    write_tags(tmp_path, weights=np.ones((3, SIZE), np.float32))
    with pytest.raises(
        CheckpointError, match=r"colour is I8 of shape \(3, 7\), not I8 of shape \(4, any\)"
    ):
        Tagger.for_encoder(identity(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2; this version of mrnn reads 1"),
        ({"imagenet": (3, 4, 5, 8)}, "a class has the tag 8 of 8"),
        ({"tags": [{"names": ["a"], "parents": [0]}] * 8}, "'a' stands before a parent"),
        ({"calibrations": {}}, "lacks the calibration 'both'"),
        (
            {"calibrations": {"both": {"temperatures": {}, "thresholds": {}, "weights": WEIGHTS}}},
            r"lacks the temperature of 'colour'",
        ),
        (
            {"calibrations": {"both": {"temperatures": {}, "thresholds": {}, "weights": []}}},
            "the calibration 'both' is of 0 tags, not 8",
        ),
        ({"more": 1}, "more is unknown"),
        ({"detector": {"encoder": "boxes", "scale": 0, "tags": []}}, "detector.scale: expected"),
        (
            {"calibrations": {"both": {"temperatures": {"a": 0}, "thresholds": {}, "weights": []}}},
            r"temperatures\.a: expected greater than or equal to 0\.001, not 0",
        ),
        (
            {
                "calibrations": {
                    "both": {"temperatures": {}, "thresholds": {}, "weights": [(0, 1e9, 0)] * 8}
                }
            },
            r"weights\[0\]\[1\]: expected less than or equal to 80",
        ),
    ],
)
def test_a_broken_list_is_refused_in_one_line(tmp_path, changes, message):
    write_tags(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        Tagger.for_encoder(identity(), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"{}"])
@pytest.mark.parametrize("file", ["tags.json", "tags.safetensors"])
def test_a_broken_file_is_refused_in_one_line(tmp_path, file, content):
    write_tags(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file}.*reinstall mrnn") as caught:
        Tagger.for_encoder(identity(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_weights_is_refused(tmp_path):
    write_tags(tmp_path)
    (tmp_path / "tags.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"tags.safetensors is missing; reinstall"):
        Tagger.for_encoder(identity(), tmp_path)
