from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mrnn.data.check import check_dataset
from mrnn.data.dataset import CaptionedImage, Dataset
from tests.data.test_dataset import captioned


def told(findings):
    return ["; ".join(map(str.strip, finding.lines())) for finding in findings]


def dataset_of(tmp_path, *images):
    """A dataset with a photo of its own for each image, if it has none yet."""
    for number, image in enumerate(images):
        if not image.path.exists():
            Image.new("RGB", (8, 8), (number, 0, 0)).save(image.path, "PNG")
    return Dataset(tmp_path / "data", images)


def test_a_good_dataset_has_no_errors(tmp_path):
    dataset = dataset_of(
        tmp_path,
        captioned("a.jpg", captions=["A dog runs .", "dogs", "a dog"], root=tmp_path),
        captioned("b.jpg", "dev", captions=["a dog sees a cat"], root=tmp_path),
    )
    seen = []
    report = check_dataset(dataset, minimum_count=2, on_image=lambda: seen.append(1))
    assert report.errors == ()
    assert report.warnings == ()
    assert len(seen) == 2
    assert report.splits["train"].model_dump() == {
        "images": 1,
        "captions": 3,
        "shortest": 1,
        "median": 2,
        "mean": 2,
        "percentile_95": 3,
        "longest": 3,
    }
    assert report.words == 4  # a 2, dog 2, runs 1, dogs 1
    assert report.rare_words == pytest.approx(2 / 4)
    assert report.rare_tokens == pytest.approx(2 / 6)
    assert report.unknown_tokens == pytest.approx(2 / 5)
    assert list(report.lines()) == [
        "train: 1 image, 3 captions of 1 to 3 words (median 2, mean 2.0, 95 % within 3)",
        "dev: 1 image, 1 caption of 5 to 5 words (median 5, mean 5.0, 95 % within 5)",
        "words: 4 in train, 50.0% of them rare (less than 2 times), 33.33% of its text; "
        "40.00% of the text of dev is outside the vocabulary",
        "errors: 0, warnings: 0",
    ]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_95_percent_are_within_the_percentile(lengths):
    images = (captioned("a.jpg", captions=["dog " * n for n in lengths], root=Path("/none")),)
    found = check_dataset(Dataset(Path("data"), images)).splits["train"]
    within = sum(n <= found.percentile_95 for n in lengths)
    shorter = sum(n < found.percentile_95 for n in lengths)
    assert shorter < 0.95 * len(lengths) <= within
    assert (found.shortest, found.longest) == (min(lengths), max(lengths))


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_missing_and_broken_images(tmp_path, split):
    dataset = dataset_of(
        tmp_path,
        captioned("fine.jpg", captions=["one"], root=tmp_path),
        captioned("fine-too.jpg", "dev", captions=["four"], root=tmp_path),
        captioned("gone.jpg", split, captions=["two"], root=tmp_path),
        captioned("cut.jpg", split, captions=["three"], root=tmp_path),
    )
    (tmp_path / "gone.jpg").unlink()
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:50])
    report = check_dataset(dataset)
    missing, broken = told(report.errors)
    assert missing == f"images of {split} missing (1):; {tmp_path}/gone.jpg"
    assert broken.startswith(f"images of {split} broken (1):; {tmp_path}/cut.jpg: ")
    assert report.unreadable == ("gone.jpg", "cut.jpg")
    assert report.warnings == ()


def test_the_same_image_twice_in_a_split_is_a_warning_and_across_splits_an_error(tmp_path):
    dataset = dataset_of(
        tmp_path,
        captioned("a.jpg", captions=["one"], root=tmp_path),
        captioned("b.jpg", captions=["two"], root=tmp_path),
        captioned("c.jpg", "dev", captions=["three"], root=tmp_path),
        captioned("d.jpg", "dev", captions=["four"], root=tmp_path),
    )
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    assert told(check_dataset(dataset).warnings) == [
        "the same image more than once in a split (1):; a.jpg (train) = b.jpg (train)",
    ]
    (tmp_path / "d.jpg").write_bytes((tmp_path / "b.jpg").read_bytes())
    assert told(check_dataset(dataset).errors) == [
        "the same image in more than one split (1):; a.jpg (train) = b.jpg (train) = d.jpg (dev)",
    ]


def test_the_same_missing_file_in_two_splits_is_a_leak(tmp_path):
    images = tuple(
        CaptionedImage(f"{split}-a", tmp_path / "a.jpg", split, (split,))
        for split in ("train", "dev")
    )
    assert told(check_dataset(Dataset(tmp_path, images)).errors)[-1] == (
        "the same image in more than one split (1):; train-a (train) = dev-a (dev)"
    )


def test_no_train_and_no_dev_split(tmp_path):
    report = check_dataset(dataset_of(tmp_path, captioned("a.jpg", "val", root=tmp_path)))
    errors = ["no train split; there are: val", "no dev split; there are: val"]
    assert told(report.errors) == errors
    assert (report.words, report.rare_words, report.unknown_tokens) == (0, 0, 0)


def test_captions_that_are_not_there(tmp_path):
    dataset = dataset_of(
        tmp_path,
        captioned("a.jpg", captions=[], root=tmp_path),
        captioned("b.jpg", captions=["a dog", " . "], root=tmp_path),
        captioned("c.jpg", "dev", captions=[], root=tmp_path),
    )
    report = check_dataset(dataset)
    assert told(report.errors) == [
        "images of train without captions (1):; a.jpg",
        "images of train with a caption that has no words (1):; b.jpg",
        "images of dev without captions (1):; c.jpg",
    ]


def test_captions_repeated_between_splits(tmp_path):
    dataset = dataset_of(
        tmp_path,
        captioned("a.jpg", captions=["A dog .", "A dog .", "a cat"], root=tmp_path),
        captioned("b.jpg", "dev", captions=["a dog"], root=tmp_path),
    )
    warnings = check_dataset(dataset).warnings
    assert told(warnings) == ["captions in more than one split (1):; a dog"]


def test_many_findings_are_some_examples_and_a_number(tmp_path):
    images = tuple(captioned(f"{n}.jpg", captions=[f"{n}"], root=tmp_path) for n in range(7))
    report = check_dataset(Dataset(tmp_path, images))
    assert list(report.lines())[2:9] == [
        "error: images of train missing (7):",
        *(f"  {tmp_path}/{n}.jpg" for n in range(5)),
        "  and 2 more",
    ]
    assert report.unreadable == tuple(f"{n}.jpg" for n in range(7))
