from collections import Counter
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.errors import DataError
from mrnn.metrics.inventions import (
    Things,
    invented_things,
    invention_counts,
    invention_figures,
    read_things,
)
from mrnn.tokenizer import tokenize

THINGS = read_things()
COCO = (
    """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
hair drier, toothbrush
""".replace("\n", " ")
    .strip()
    .split(", ")
)
OTHER_NAMES = {
    "sports ball": "ball",
    "baseball glove": "glove",
    "orange": "oranges",  # the word alone is a colour more often
    "potted plant": "plant",
    "dining table": "table",
}

words = st.sampled_from(
    ["a", "hot", "dog", "puppy", "man", "woman", "cat", "runs", "teddy", "bear"]
)
sentences = st.lists(words, max_size=8)
images = st.lists(
    st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1, max_size=6
)


def counts_of(pairs):
    captions, references = zip(*pairs, strict=True)
    return invention_counts(captions, references)


def all_phrases():
    return [phrase for phrases in THINGS.phrases.values() for phrase, _ in phrases]


def test_words_are_as_the_tokenizer_gives_them():
    wrong = [words for words in all_phrases() if tokenize(" ".join(words)) != list(words)]
    assert not wrong


def test_no_word_stands_for_two_things():
    twice = [phrase for phrase, count in Counter(all_phrases()).items() if count > 1]
    assert not twice
    file = resources.files("mrnn.metrics").joinpath("things.txt").read_text(encoding="utf-8")
    lines = [line.partition(":")[0] for line in file.splitlines() if line and line[0] != "#"]
    assert len(set(lines)) == len(lines) == len(THINGS.names) + 1


def test_every_phrase_names_its_thing_alone():
    for phrases in THINGS.phrases.values():
        for phrase, thing in phrases:
            assert THINGS.named(phrase) == {thing} - {"nothing"}


def test_the_classes_of_coco_are_things():
    assert len(COCO) == 80
    for name in COCO:
        thing = OTHER_NAMES.get(name, name)
        assert thing in THINGS.names
        assert thing in THINGS.named([thing] if name == "orange" else tokenize(name)), name


@pytest.mark.parametrize(
    ("caption", "things"),
    [
        ("A puppy and two dogs", {"dog"}),
        ("A hot dog on a plate", {"hot dog", "plate"}),
        ("A teddy bear beside a polar bear", {"teddy bear", "bear"}),
        ("A couple of cats look at the camera", {"cat"}),
        ("A couple on a bench", {"person", "bench"}),
        ("A baby elephant", {"elephant"}),
        ("A baby and an elephant", {"person", "elephant"}),
        ("A tennis player swings a racquet", {"tennis", "person", "tennis racket"}),
        ("An orange shirt", {"shirt"}),
        ("", set()),
        ("hot", set()),
    ],
)
def test_things_that_captions_name(caption, things):
    assert THINGS.named(tokenize(caption)) == things


def test_counts_and_figures_by_hand():
    things = Things.parse("# two animals\ndog: puppy, dogs\n\ncat: kitten\nhot dog\nperson: man\n")
    captions = ["a man with a dog and a puppy", "a kitten", "the grass", "a man and a cat"]
    references = [
        ["a man and a cat", "a man walks", "two kitten"],  # invented: dog; found: person, not cat
        ["a hot dog"],  # invented: cat, which is neither a person nor a dog; not found: hot dog
        ["a dog", "the grass"],  # one of two names the dog: not expected
        ["a cat", "a man", "a hot dog"],  # nothing is named by two
    ]
    split = [[sentence.split() for sentence in image] for image in references]
    counts = invention_counts([caption.split() for caption in captions], split, things)
    assert counts.tolist() == [
        [2, 1, 1, 2, 1],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [2, 0, 0, 0, 0],
    ]
    assert invention_figures(counts.sum(axis=0)).tolist() == [2 / 5, 1, 1 / 3]
    assert invention_figures(counts)[2].tolist() == [0, 0, 0]  # nothing named, nothing expected
    caption = ["a", "dog", "and", "a", "cat"]
    assert invented_things(caption, [["a", "man"]], things) == ["cat", "dog"]


def test_captions_need_references():
    with pytest.raises(DataError, match="Image 0 has no references"):
        invention_counts([["a", "dog"]], [[]])


@given(images)
def test_figures_are_in_their_range(pairs):
    counts = counts_of(pairs)
    invented, grave, recall = invention_figures(counts.sum(axis=0))
    assert 0 <= invented <= 1
    assert 0 <= recall <= 1
    assert 0 <= grave <= len(pairs)
    assert (counts[:, 1] <= counts[:, 0]).all()
    assert (counts[:, 4] <= counts[:, 3]).all()
    for row, (caption, references) in zip(counts, pairs, strict=True):
        assert row[1] == len(invented_things(caption, references))


@given(images)
def test_a_caption_like_a_reference_invents_nothing(pairs):
    assert not counts_of([(references[0], references) for _, references in pairs])[:, 1:3].any()


@given(images, st.randoms())
def test_the_order_of_images_and_references_does_not_matter(pairs, random):
    total = counts_of(pairs).sum(axis=0)
    shuffled = [(caption, random.sample(own, len(own))) for caption, own in pairs]
    random.shuffle(shuffled)
    np.testing.assert_array_equal(counts_of(shuffled).sum(axis=0), total)


def test_more_references_do_not_make_more_inventions():
    few, many = [["a", "cat"]], [["a", "cat"], ["a", "dog"]]
    caption = ["a", "dog"]
    assert invented_things(caption, few) == ["dog"]
    assert invented_things(caption, many) == []
