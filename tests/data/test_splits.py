from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrnn.data.dataset import CaptionedImage
from mrnn.data.splits import divide, hold_out, split_at_random, split_by_lists, split_name
from mrnn.errors import DataError, MRNNError, OptionsError


def captioned(name, split="", captions=("a dog",)):
    return CaptionedImage(name, Path("/photos", name), split, captions)


def named(*names):
    return [captioned(name) for name in names]


def splits(images):
    return [(image.name, image.split) for image in images]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("val", "dev"), ("Validation ", "dev"), ("valid", "dev"), ("restval", "train"), ("x", "x")],
)
def test_names_of_splits(theirs, ours):
    assert split_name(theirs) == ours
    assert split_name(ours) == ours


# By lists


def test_images_come_in_the_order_of_the_lists(tmp_path):
    (tmp_path / "train").write_text("c.jpg\n a.jpg \n")
    (tmp_path / "dev").write_bytes(b"\xef\xbb\xbf\r\nd.jpg\r\n")
    lists = [("train", tmp_path / "train"), ("dev", tmp_path / "dev")]
    divided = split_by_lists([captioned("e.jpg", "test"), *named("d.jpg", "a.jpg", "c.jpg")], lists)
    assert splits(divided) == [
        *(("c.jpg", "train"), ("a.jpg", "train"), ("d.jpg", "dev"), ("e.jpg", ""))
    ]


@pytest.mark.parametrize("line", ["00/25.jpg", "00/25", "25.jpg", "25"])
def test_short_names_in_lists(tmp_path, line):
    (tmp_path / "dev").write_text(line)
    divided = split_by_lists(named("00/24.jpg", "00/25.jpg"), [("dev", tmp_path / "dev")])
    assert splits(divided) == [("00/25.jpg", "dev"), ("00/24.jpg", "")]


def test_a_whole_name_comes_before_a_short_one(tmp_path):
    (tmp_path / "dev").write_text("a.jpg")
    divided = split_by_lists(named("sub/a.jpg", "a.jpg"), [("dev", tmp_path / "dev")])
    assert splits(divided) == [("a.jpg", "dev"), ("sub/a.jpg", "")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("z.jpg", r"dev:2: 'z\.jpg' has no captions in the source"),
        ("a", r"dev:2: 'a' may be x/a\.jpg and y/a\.jpg; write the whole name"),
        ("b.jpg", r"dev:2: 'b\.jpg' is in .*dev already"),
    ],
)
def test_a_bad_line_of_a_list_is_named(tmp_path, line, problem):
    (tmp_path / "dev").write_text(f"b\n{line}\n")
    with pytest.raises(DataError, match=problem):
        split_by_lists(named("x/a.jpg", "y/a.jpg", "b.jpg"), [("dev", tmp_path / "dev")])


# At random

names = st.lists(st.text(min_size=1), min_size=3, max_size=60, unique=True)


@given(names, st.integers(0, 3), st.randoms())
def test_the_order_of_images_does_not_matter(names, seed, random):
    shuffled = random.sample(names, len(names))
    one, other = (split_at_random(named(*order), seed=seed) for order in (names, shuffled))
    assert dict(splits(one)) == dict(splits(other))


@given(names, st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1))
def test_each_image_goes_to_one_split_by_its_fraction(names, train, dev, test):
    fractions = (train, dev, test)
    try:
        divided = split_at_random(named(*names), fractions)
    except DataError:
        assert len(names) * fractions[0] / sum(fractions) <= 3
        return
    assert sorted(image.name for image in divided) == sorted(names)
    assert [image.split for image in divided] == sorted(
        (image.split for image in divided), key=["train", "dev", "test"].index
    )
    count = Counter(image.split for image in divided)
    assert count["train"] > 0
    for split, fraction in zip(("dev", "test"), fractions[1:], strict=True):
        exact = len(names) * fraction / sum(fractions)
        assert abs(count[split] - exact) <= (0.5 if exact >= 1 else 1)
        assert (count[split] > 0) == (fraction > 0)


def test_seeds_differ_and_the_split_of_a_seed_stays():
    images = named(*(f"{number}.jpg" for number in range(1000)))
    ways = {tuple(splits(split_at_random(images, seed=seed))) for seed in range(20)}
    assert len(ways) == 20
    dev = [
        image.name
        for image in split_at_random(images[:20], (80.0, 10.0, 10.0))
        if image.split == "dev"
    ]
    assert dev == ["6.jpg", "7.jpg"]  # another release of mrnn must divide alike


@pytest.mark.parametrize(
    "fractions",
    [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 0.0), (1.0, 2.0), (9e999,) * 3],
)
def test_impossible_fractions(fractions):
    with pytest.raises(OptionsError, match=r"^--fractions .*: expected those of train, dev"):
        split_at_random(named("a", "b", "c"), fractions)


def test_too_few_images():
    with pytest.raises(DataError, match=r"^2 images are too few to be split by \(0\.8, 0\.1, 0\.1"):
        split_at_random(named("a", "b"))
    assert splits(split_at_random(named("a", "b"), (1.0, 0.0, 0.0))) == [
        ("a", "train"),
        ("b", "train"),
    ]


# All together


def test_splits_of_the_source_are_kept():
    images = [
        captioned("a", "dev"),
        captioned("b"),
        captioned("c", "train", ()),
        captioned("d", "x"),
    ]
    divided, notes = divide(images, leave_out=["d"])
    assert splits(divided) == [("a", "dev")]
    assert notes == ["1 image without captions is left out", "1 image in no split is left out"]


def test_a_source_without_splits_is_split_at_random():
    images = [*named(*"abcdefghij"), captioned("z", captions=())]
    divided, notes = divide(images)
    assert divided == split_at_random(images[:-1])
    assert notes == [
        "1 image without captions is left out",
        "The source has no splits: train, dev and test are chosen at random",
    ]


@pytest.mark.parametrize(
    "wish", [{"fractions": (2.0, 1.0, 1.0)}, {"seed": 0}, {"fractions": (2.0, 1.0, 1.0), "seed": 1}]
)
def test_a_random_split_that_is_asked_for_goes_before_the_source(wish):
    images = [captioned(name, "dev") for name in "abcdefgh"]
    assert divide(images, **wish) == (split_at_random(images, **wish), [])


def test_lists_go_before_the_source(tmp_path):
    (tmp_path / "list").write_text("a\nb\nc\n")
    images = [captioned("a", "dev"), captioned("b"), captioned("c", captions=()), captioned("d")]
    divided, notes = divide(images, lists=[f"val={tmp_path}/list"], leave_out=["b"])
    assert splits(divided) == [("a", "dev")]
    assert notes == ["1 image without captions is left out", "1 image in no split is left out"]


@pytest.mark.parametrize("text", ["dev", "dev=", "=list", " =list"])
def test_what_is_not_a_split_list(text):
    with pytest.raises(
        OptionsError, match=r"is not a split list; write SPLIT=FILE, as dev=dev\.txt"
    ):
        divide(named("a"), lists=[text])


@pytest.mark.parametrize("wish", [{"fractions": (1.0, 1.0, 1.0)}, {"seed": 0}])
def test_lists_and_a_random_split(wish):
    with pytest.raises(OptionsError, match="--split-list leaves nothing for --fractions"):
        divide(named("a"), lists=["dev=list"], **wish)


def test_an_unknown_image_to_leave_out():
    with pytest.raises(DataError, match="no image 'b' to leave out; give the whole name"):
        divide(named("a"), leave_out=["a", "b"])


def test_nothing_is_divided_into_nothing():
    assert divide([]) == ([], [])
    assert divide([captioned("a", captions=())]) == ([], ["1 image without captions is left out"])


# Held out


@given(st.integers(1, 60), st.integers(0, 59))
def test_images_that_are_held_out_are_evenly_spaced(total, count):
    images = named(*(f"{number:02}.jpg" for number in range(total)))
    if count >= total:
        with pytest.raises(OptionsError, match=rf"^training\.held_out = {count} leaves no photo"):
            hold_out(images, count)
        return
    kept, held_out = hold_out(images, count)
    assert len(held_out) == count
    assert sorted([*kept, *held_out], key=lambda image: image.name) == images
    assert kept == [image for image in images if image not in held_out]
    places = [-1, *(images.index(image) for image in held_out), total]
    gaps = {b - a for a, b in pairwise(places[1:-1])}
    assert all(abs(gap - total / count) < 1 for gap in gaps)
    if count:
        assert places[1] <= total / count
        assert total - places[-2] <= total / count + 1


# Left out by a file


def test_a_file_of_what_is_left_out(tmp_path):
    (tmp_path / "broken").write_text("# Missing or broken\nx/b.jpg\nx\\c\n./a.jpg\nz.jpg\n")
    images = [captioned(name, "train") for name in ("a.jpg", "x/b.jpg", "x/c.jpg", "d.jpg")]
    divided, notes = divide(images, leave_out_files=[tmp_path / "broken"])
    assert splits(divided) == [("d.jpg", "train")]
    assert notes == [f"{tmp_path}/broken: 1 of 4 names are not in the source"]
    (tmp_path / "none").write_text("# Missing or broken\n")
    assert divide(images, leave_out_files=[tmp_path / "none"]) == (images, [])


def test_a_file_that_is_no_list_of_these_images(tmp_path):
    (tmp_path / "list").write_text("z.jpg\n")
    with pytest.raises(DataError, match=r"list: no image of the source .*'z\.jpg'$"):
        divide(named("a.jpg"), leave_out_files=[tmp_path / "list"])
    (tmp_path / "list").write_text("b.jpg\na\n")
    with pytest.raises(DataError, match=r"list:2: 'a' may be x/a\.jpg and y/a\.jpg; write the"):
        divide(named("x/a.jpg", "y/a.jpg", "b.jpg"), leave_out_files=[tmp_path / "list"])


def test_a_line_of_3_mb_makes_a_short_message(tmp_path):
    (tmp_path / "dev").write_text("x" * 3_000_000)
    for call in (
        lambda: divide(named("a"), lists=[f"dev={tmp_path}/dev"]),
        lambda: divide(named("a"), leave_out_files=[tmp_path / "dev"]),
        lambda: divide(named("a"), leave_out=["x" * 3_000_000]),
        lambda: divide(named("a"), lists=["x" * 3_000_000]),
    ):
        with pytest.raises(MRNNError) as raised:
            call()
        assert len(str(raised.value)) <= 300 + len(str(tmp_path))


def test_names_to_leave_out_are_found_as_those_in_lists():
    images = [captioned(name, "train") for name in ("x/\u00e9.jpg", "b.jpg")]
    assert splits(divide(images, leave_out=["x\\e\u0301.jpg"])[0]) == [("b.jpg", "train")]
