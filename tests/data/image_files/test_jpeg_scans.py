import io
import struct

import pytest
from PIL import Image

from mrnn.data.image_files import jpeg_scans
from mrnn.data.images import load_image
from mrnn.errors import ImageError
from tests.data.photo_files import encoded, photo

SIZE = (640, 480)


def with_size(jpeg, width, height):
    """The same file, whose header tells another size."""
    place = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


def with_scans(jpeg, count, between=b""):
    """The last scan of a JPEG again and again."""
    last = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    return jpeg[:-2] + (between + last) * count + b"\xff\xd9"


@pytest.fixture
def progressive():
    return encoded(Image.new("L", SIZE, 100), "JPEG", progressive=True)


def test_a_progressive_jpeg_that_would_take_too_much_memory_is_refused():
    whole = encoded(photo(SIZE), "JPEG", progressive=True)
    problem = "too large for a progressive JPEG .65500 x 65500 pixels.; save it as a baseline JPEG"
    with pytest.raises(ImageError, match=problem):
        load_image(with_size(whole, 65500, 65500), least_side=100)
    assert load_image(whole).size == SIZE


def test_halved_colours_take_less(monkeypatch):
    monkeypatch.setattr(jpeg_scans, "MAX_COEFFICIENTS", 640 * 480 * 3 // 2)
    for colours, fits in (("4:2:0", True), ("4:2:2", False), ("4:4:4", False)):
        whole = encoded(photo(SIZE), "JPEG", progressive=True, subsampling=colours)
        if fits:
            assert load_image(whole).size == SIZE
        else:
            with pytest.raises(ImageError, match="too large for a progressive JPEG"):
                load_image(whole)


def test_too_many_scans_are_refused(progressive):
    own = progressive.count(b"\xff\xda")
    assert load_image(with_scans(progressive, 100 - own)).size == SIZE
    with pytest.raises(ImageError, match="a JPEG of 100 scans or more; save it again"):
        load_image(with_scans(progressive, 101 - own))


def test_a_large_photo_may_have_fewer_scans(progressive, monkeypatch):
    monkeypatch.setattr(jpeg_scans, "MAX_COEFFICIENTS", 640 * 480)
    own = progressive.count(b"\xff\xda")
    assert load_image(with_scans(progressive, 20 - own)).size == SIZE
    with pytest.raises(ImageError, match="a JPEG of 21 scans or more"):
        load_image(with_scans(progressive, 21 - own))


def test_an_end_that_is_hidden_in_a_comment_does_not_count(progressive):
    comment = b"\xff\xfe\0\x06\xff\xd9\xff\xd9"
    with pytest.raises(ImageError, match="a JPEG of 100 scans or more"):
        load_image(with_scans(progressive, 200, comment))


def test_what_follows_the_end_does_not_count(progressive):
    assert load_image(progressive + progressive * 100).size == SIZE


def test_a_baseline_jpeg_of_a_scan_for_each_component_counts_as_well():
    whole = encoded(Image.new("RGB", (64, 64)), "JPEG", subsampling="4:4:4")
    header, data = whole[: whole.index(b"\xff\xda")], whole[whole.index(b"\xff\xda") :]
    first = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[14:]  # of one component
    with pytest.raises(ImageError, match="too large for a progressive JPEG"):
        load_image(with_size(header + first, 65500, 65500))


def test_reading_of_the_scans_leaves_the_file_where_it_was(progressive):
    file = io.BytesIO(progressive)
    image = Image.open(file)
    place = file.tell()
    jpeg_scans.check_scans(image, file)
    assert file.tell() == place


@pytest.mark.parametrize(
    ("size", "least_side", "most", "expected"),
    [
        ((1600, 1200), None, 10**8, (1600, 1200)),
        ((1600, 1200), 1200, 10**8, (1600, 1200)),
        ((1600, 1200), 600, 10**8, (800, 600)),
        ((1600, 1200), 601, 10**8, (1600, 1200)),
        ((1600, 1200), 10, 10**8, (200, 150)),
        ((1600, 1200), None, 500_000, (800, 600)),
        ((1600, 1200), 1000, 479_999, (400, 300)),
        ((1600, 1200), None, 1, (200, 150)),
        ((1600, 3), 2, 10**8, (1600, 3)),
        ((1600, 3), None, 2000, (800, 2)),
    ],
)
def test_how_much_smaller_a_jpeg_is_decoded(size, least_side, most, expected):
    image = Image.open(io.BytesIO(encoded(Image.new("L", size), "JPEG")))
    jpeg_scans.reduce_jpeg(image, least_side, most)
    assert image.size == expected
    image.load()
    assert image.size == expected
