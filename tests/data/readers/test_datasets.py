import pytest

from mrnn.data.dataset import CaptionedImage, write_dataset
from mrnn.data.readers.datasets import read_datasets
from mrnn.errors import DataError


def write(folder, names):
    photos = folder / "photos"
    images = [CaptionedImage(name, photos / name, "train", ("A dog",)) for name in names]
    write_dataset(images, folder, source="test", images_root=photos)
    return folder


def read(folders):
    return list(read_datasets(folders))


def test_one_after_the_other(tmp_path):
    folders = [write(tmp_path / "x", ["b.jpg", "a.jpg"]), write(tmp_path / "y", ["c.jpg"])]
    assert [image.name for image in read(folders)] == ["b.jpg", "a.jpg", "c.jpg"]


def test_a_name_in_both_is_refused(tmp_path):
    folders = [write(tmp_path / "x", ["a.jpg"]), write(tmp_path / "y", ["a.jpg"])]
    with pytest.raises(DataError, match=r"a\.jpg is in .*x and in .*y; names must be unique, so"):
        read(folders)


def test_one_folder_twice_is_refused(tmp_path):
    folder = write(tmp_path / "x", ["a.jpg"])
    with pytest.raises(DataError, match=r"a\.jpg is in .*x and in .*x;"):
        read([folder, folder])


def test_one_alone_is_refused(tmp_path):
    with pytest.raises(DataError, match="x alone: give two dataset folders or more to join"):
        read([write(tmp_path / "x", ["a.jpg"])])


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"y: not a dataset folder"):
        read([write(tmp_path / "x", ["a.jpg"]), tmp_path / "y"])
