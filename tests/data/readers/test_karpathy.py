import json
import time

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.karpathy import read_karpathy
from mrnn.errors import DataError


def image(filename, split, *captions, **more):
    sentences = [{"raw": caption, "tokens": [], "sentid": 0} for caption in captions]
    return {"filename": filename, "split": split, "sentences": sentences, "imgid": 0, **more}


def read(tmp_path, *images):
    file = tmp_path / "dataset_toy.json"
    file.write_text(json.dumps({"images": images, "dataset": "toy"}))
    return list(read_karpathy(file, tmp_path / "images"))


def test_images_in_the_order_of_the_file(tmp_path):
    root = tmp_path / "images"
    assert read(
        tmp_path,
        image("b.jpg", "val", "A dog .", "Two dogs"),
        image("COCO_val2014_000000000001.jpg", "restval", "A cat", filepath="val2014"),
        image("a.jpg", "test"),
    ) == [
        CaptionedImage("b.jpg", root / "b.jpg", "dev", ("A dog .", "Two dogs")),
        CaptionedImage(
            "COCO_val2014_000000000001.jpg",
            root / "val2014/COCO_val2014_000000000001.jpg",
            "train",
            ("A cat",),
        ),
        CaptionedImage("a.jpg", root / "a.jpg", "test", ()),
    ]


def test_a_file_without_splits(tmp_path):
    bare = image("a.jpg", "", "A dog")
    del bare["split"]
    assert [found.split for found in read(tmp_path, bare)] == [""]


def test_a_name_that_is_there_twice(tmp_path):
    twice = [image("a.jpg", "train", "A dog"), image("b.jpg", "val"), image("a.jpg", "val")]
    with pytest.raises(DataError, match=r"toy\.json: images\[2\]: 'a\.jpg' is images\[0\] too"):
        read(tmp_path, *twice)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"filename": ""}, r"images\[1\].filename: .*at least 1"),
        ({"filename": None}, r"images\[1\]\.filename: expected text, not None"),
        ({"split": 3}, r"images\[1\]\.split: expected text, not 3"),
        ({"sentences": [{"raw": 3}]}, r"images\[1\]\.sentences\[0\]\.raw: expected text, not 3"),
        ({"sentences": [{"tokens": []}]}, r"images\[1\]\.sentences\[0\]\.raw is missing"),
        ({"sentences": ["A dog"]}, r"images\[1\]\.sentences\[0\]: .*not 'A dog'"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(tmp_path, change, problem):
    with pytest.raises(DataError, match=rf"dataset_toy\.json: {problem}"):
        read(tmp_path, image("a.jpg", "train"), image("b.jpg", "train") | change)


def test_thousands_of_images_are_quick(tmp_path):
    images = (image(f"{number}.jpg", "train", *["A dog runs ."] * 5) for number in range(3000))
    start = time.process_time()
    assert len(read(tmp_path, *images)) == 3000
    assert time.process_time() - start < 3
