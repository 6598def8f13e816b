import json
import time

import pytest

from mrnn.data.dataset import CaptionedImage
from mrnn.data.readers.coco import read_coco
from mrnn.errors import DataError


def coco(images, captions):
    """Content of a COCO file: {id: file name}, and pairs of id and caption."""
    return {
        "info": {"year": 2014},
        "images": [{"id": i, "height": 4} | ({"file_name": n} if n else {}) for i, n in images],
        "annotations": [
            {"id": number, "image_id": i, "caption": caption}
            for number, (i, caption) in enumerate(captions)
        ],
    }


def read(tmp_path, *files, images="images"):
    (tmp_path / images).mkdir(parents=True, exist_ok=True)
    for name, content in files:
        (tmp_path / name).write_text(json.dumps(content))
    return list(read_coco([tmp_path / name for name, _ in files], tmp_path / images))


TRAIN = coco([(9, "n.jpg"), (7, "s.jpg"), (8, "bare.jpg")], [(7, "A dog"), (9, "Cat"), (7, "Dogs")])


def test_images_in_the_order_of_the_file_with_their_captions(tmp_path):
    root = tmp_path / "images"
    assert read(tmp_path, ("captions_train2014.json", TRAIN)) == [
        CaptionedImage("n.jpg", root / "n.jpg", "train", ("Cat",)),
        CaptionedImage("s.jpg", root / "s.jpg", "train", ("A dog", "Dogs")),
        CaptionedImage("bare.jpg", root / "bare.jpg", "train", ()),
    ]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("captions_train2014.json", "train"),
        ("captions_val2017.json", "dev"),
        ("Test.json", "test"),
        ("my-val.json", "dev"),
        ("captions_mini.json", ""),
        ("captions_trains.json", ""),
        ("captions_retrain.json", ""),
        ("captions_val20145.json", ""),
    ],
)
def test_the_split_is_in_the_name_of_the_file(tmp_path, file, split):
    assert {image.split for image in read(tmp_path, (file, TRAIN))} == {split}


def test_several_files_and_a_folder_of_images_for_each(tmp_path):
    (tmp_path / "images/val2014").mkdir(parents=True)
    val = coco([(1, "v.jpg")], [(1, "A bird")])
    read_images = read(tmp_path, ("captions_train2014.json", TRAIN), ("captions_val2014.json", val))
    assert [(image.name, image.split) for image in read_images] == [
        *(("n.jpg", "train"), ("s.jpg", "train"), ("bare.jpg", "train"), ("v.jpg", "dev"))
    ]
    assert read_images[0].path == tmp_path / "images/n.jpg"
    assert read_images[3].path == tmp_path / "images/val2014/v.jpg"


@pytest.mark.parametrize("folder", ["images", "images/train2014"])
def test_images_without_file_names_are_named_as_on_disk(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "COCO_train2014_000000000005.jpg").touch()
    content = coco([(5, None), (6, None), ("7", None)], [])
    images = read(tmp_path, ("captions_train2014.json", content))
    assert [image.path.relative_to(tmp_path / folder).as_posix() for image in images] == [
        *("COCO_train2014_000000000005.jpg", "000000000006.jpg", "000000000007.jpg")
    ]


@pytest.mark.parametrize("number", ["five", -5, "²"])
def test_no_file_name_and_no_number(tmp_path, number):
    with pytest.raises(DataError, match=r"t\.json: images\[0\]: no file_name, and id .* does not"):
        read(tmp_path, ("t.json", coco([(number, None)], [])))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.jpg", "a.jpg"),
        ("COCO_val2014_000000000005.jpg", "000000000005.jpg"),
        ("COCO_train2014_000000000005.jpg", "COCO_val2014_000000000005.jpg"),
    ],
)
def test_the_same_image_in_two_files(tmp_path, one, other):
    first = coco([(1, "x.jpg"), (5, one)], [])
    second = coco([(5, other)], [])
    both = rf"two\.json: images\[0\]: {other} is .*one\.json: images\[1\] too; keep one"
    with pytest.raises(DataError, match=both):
        read(tmp_path, ("one.json", first), ("two.json", second))


def test_other_images_may_have_the_same_id_in_two_files(tmp_path):
    files = (("a.json", coco([(1, "a.jpg")], [(1, "A")])), ("b.json", coco([(1, "b.jpg")], [])))
    assert [image.captions for image in read(tmp_path, *files)] == [("A",), ()]


def test_the_same_file_twice(tmp_path):
    with pytest.raises(DataError, match=r"t\.json: images\[0\]: n\.jpg is .*images\[0\] too"):
        read(tmp_path, ("t.json", TRAIN), ("t.json", TRAIN))


def test_ids_that_are_there_twice_or_not_at_all(tmp_path):
    with pytest.raises(DataError, match=r"t\.json: images\[1\]: id 5 is that of images\[0\] too"):
        read(tmp_path, ("t.json", coco([(5, "a.jpg"), (5, "b.jpg")], [])))
    with pytest.raises(DataError, match=r"t\.json: a caption has image_id 6, which no image has"):
        read(tmp_path, ("t.json", coco([(5, "a.jpg")], [(6, "A dog")])))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"images": []}, "annotations is missing"),
        (coco([(5, 6)], []), r"images\[0\]\.file_name: expected text, not 6"),
        (coco([(5.5, "a.jpg")], []), r"images\[0\]\.id: .*, not 5\.5"),
        (coco([(5, "a.jpg")], [(5, ["A dog"])]), r"annotations\[0\]\.caption: .*not \['A dog'\]"),
        ([], "valid dictionary|object"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(tmp_path, content, problem):
    with pytest.raises(DataError, match=rf"t\.json: .*({problem})"):
        read(tmp_path, ("t.json", content))


def test_thousands_of_images_are_quick(tmp_path):
    count = range(3000)
    content = coco(
        [(i, f"{i}.jpg") for i in count], [(i, "A dog") for i in count for _ in range(5)]
    )
    start = time.process_time()
    assert len(read(tmp_path, ("captions_train2014.json", content))) == 3000
    assert time.process_time() - start < 3


@pytest.mark.parametrize("ids", [(5, "5"), (5.0, 5), ("5", 5.0), ("5.0", 5)])
def test_ids_in_other_forms_are_one(tmp_path, ids):
    content = coco([(ids[0], "a.jpg")], [(ids[1], "A dog")])
    (tmp_path / "t.json").write_text(json.dumps(content))
    (image,) = read_coco([tmp_path / "t.json"], tmp_path)
    assert (image.name, image.captions) == ("a.jpg", ("A dog",))
