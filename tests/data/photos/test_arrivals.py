import os

import pytest

from mrnn.data.photos.arrivals import PATIENCE, SETTLED, Arrivals


@pytest.fixture
def photo(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"1")
    return photo


def ready(arrivals, now):
    return list(arrivals.ready(now))


def test_a_photo_is_given_out_when_it_has_not_grown_for_a_while(photo):
    arrivals = Arrivals()
    arrivals.add([photo], 0.0)
    assert ready(arrivals, SETTLED * 0.9) == []
    photo.write_bytes(b"12")
    assert ready(arrivals, SETTLED * 1.1) == []
    assert ready(arrivals, SETTLED * 2) == []
    assert ready(arrivals, SETTLED * 2.1) == [photo]
    assert ready(arrivals, SETTLED * 9) == []


def test_a_photo_is_given_out_again_only_if_it_has_changed(photo, tmp_path):
    arrivals = Arrivals()
    arrivals.add([photo, tmp_path / "." / "a.jpg"], 0.0)
    assert ready(arrivals, 9.0) == [photo]
    arrivals.add([photo], 10.0)
    assert ready(arrivals, 19.0) == []
    photo.write_bytes(b"other")
    arrivals.add([photo], 20.0)
    assert ready(arrivals, 29.0) == [photo]


def test_a_photo_that_is_gone_is_forgotten(photo, tmp_path):
    arrivals = Arrivals()
    arrivals.add([photo, tmp_path / "none.jpg"], 0.0)
    photo.unlink()
    assert ready(arrivals, 9.0) == []
    assert arrivals.wait_longer(photo, 9.0)
    assert ready(arrivals, 99.0) == []


def test_a_photo_that_cannot_be_read_yet_is_waited_for_once(photo):
    arrivals = Arrivals()
    arrivals.add([photo], 0.0)
    assert ready(arrivals, 2.0) == [photo]
    assert arrivals.wait_longer(photo, 2.0)
    assert ready(arrivals, 2 + PATIENCE * 0.9) == []
    assert ready(arrivals, 2 + PATIENCE) == [photo]
    assert not arrivals.wait_longer(photo, 20.0)
    assert ready(arrivals, 99.0) == []


def test_a_photo_that_grows_while_it_is_waited_for_is_read_soon(photo):
    arrivals = Arrivals()
    arrivals.add([photo], 0.0)
    assert ready(arrivals, 2.0) == [photo]
    assert arrivals.wait_longer(photo, 2.0)
    photo.write_bytes(b"whole")
    os.utime(photo, ns=(5, 5))
    assert ready(arrivals, 3.0) == []
    assert ready(arrivals, 3 + SETTLED) == [photo]
    assert arrivals.wait_longer(photo, 9.0)
