import pytest

from mrnn.dataset import CaptionedImage, write_dataset
from mrnn.errors import DataError
from mrnn.readers.datasets import read_datasets


def write(folder, names):
    photos = folder / "photos"
    images = [CaptionedImage(name, photos / name, "train", ("A dog",)) for name in names]
    write_dataset(images, folder, source="test", images_root=photos)
    return folder


def test_one_after_the_other_below_what_holds_both(tmp_path):
    folders = [write(tmp_path / "x", ["b.jpg", "a.jpg"]), write(tmp_path / "y", ["c.jpg"])]
    images, root = read_datasets(folders)
    assert [image.name for image in images] == ["b.jpg", "a.jpg", "c.jpg"]
    assert root == tmp_path


def test_photos_of_one_folder_keep_it(tmp_path):
    write(tmp_path / "x", ["a.jpg"])
    photos = tmp_path / "x/photos"
    other = [CaptionedImage("b.jpg", photos / "b.jpg", "dev", ("A cat",))]
    write_dataset(other, tmp_path / "y", source="test", images_root=photos)
    assert read_datasets([tmp_path / "x", tmp_path / "y"])[1] == photos


def test_a_name_in_both_is_refused(tmp_path):
    folders = [write(tmp_path / "x", ["a.jpg"]), write(tmp_path / "y", ["a.jpg"])]
    with pytest.raises(DataError, match=r"a\.jpg is in .*x and in .*y; names must be unique, so"):
        read_datasets(folders)


def test_one_folder_twice_is_refused(tmp_path):
    folder = write(tmp_path / "x", ["a.jpg"])
    with pytest.raises(DataError, match=r"a\.jpg is in .*x and in .*x;"):
        read_datasets([folder, folder])


def test_one_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="x alone: give two dataset folders or more to join"):
        read_datasets([write(tmp_path / "x", ["a.jpg"])])


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"y: not a dataset folder"):
        read_datasets([write(tmp_path / "x", ["a.jpg"]), tmp_path / "y"])
