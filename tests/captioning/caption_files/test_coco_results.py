import json

import pytest

from mrnn.captioning.caption_files.coco_results import coco_ids, write_coco_results
from mrnn.errors import DataError


def test_the_id_of_a_coco_image():
    names = ["COCO_val2014_000000000042.jpg", "val2017/000000000043.jpg", "44", "b/45.png"]
    assert coco_ids(names) == [42, 43, 44, 45]
    assert coco_ids(["0" * 60_000 + "7.jpg"]) == [7]


@pytest.mark.parametrize(
    "name", ["dog.jpg", "COCO_val2014_.jpg", "42a.jpg", "", "٤٢.jpg", "-1.jpg"]
)
def test_a_name_without_an_id(name):
    with pytest.raises(DataError, match=rf"^'{name}' holds no image id; the COCO server takes who"):
        coco_ids([name])


@pytest.mark.parametrize("name", ["9" * 5000, "0" * 60_000 + "x"], ids=["digits", "zeros"])
def test_a_name_with_more_digits_than_an_id(name):
    with pytest.raises(DataError, match="holds no image id"):
        coco_ids([name])


def test_two_names_of_one_image():
    message = r"^'42\.jpg' and 'COCO_val2014_000000000042\.jpg' have one image id, 42$"
    with pytest.raises(DataError, match=message):
        coco_ids(["42.jpg", "COCO_val2014_000000000042.jpg"])


def test_results_are_in_the_form_of_the_server(tmp_path):
    file = tmp_path / "results.json"
    write_coco_results(file, [42, 7], ["a dog", "ein Hündchen"])
    assert json.loads(file.read_text(encoding="utf-8")) == [
        {"image_id": 42, "caption": "a dog"},
        {"image_id": 7, "caption": "ein Hündchen"},
    ]
    with pytest.raises(ValueError, match="shorter"):
        write_coco_results(file, [42, 7], ["a dog"])
