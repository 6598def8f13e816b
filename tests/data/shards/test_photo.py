import pytest

from mrnn.data.shards.photo import ShardPhoto, photo_suffix
from tests.data.shards.photos import photo


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("GIF", ".gif"), ("WEBP", ".webp"), ("BMP", ".bmp"),
     ("TIFF", ".tif"), ("PPM", ".ppm")],
)  # fmt: skip
def test_a_photo_without_a_name_is_known_by_its_content(kind, suffix):
    assert ShardPhoto("a", photo(kind=kind)).file_suffix == suffix


def test_the_suffix_of_its_name_goes_first():
    assert ShardPhoto("a", photo(), ".jpg").file_suffix == ".jpg"
    assert ShardPhoto("a", b"something else").file_suffix == ".bin"


def test_suffixes_of_photos():
    names = ["a.jpg", "b/A.JPEG", "x.heic", "a.txt", "jpg", "a.jpg/b"]
    assert list(map(photo_suffix, names)) == [".jpg", ".jpg", ".heic", "", "", ""]
