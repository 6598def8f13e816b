import io

import pytest

from mrnn.captioning.results import ImageCaptions
from mrnn.data.images import NamedImage
from mrnn.model.config import DecodingOptions, RerankingOptions
from mrnn.server.options import CaptionOptions
from mrnn.server.worker import CaptionWorker, QueueFullError

PLAIN = CaptionOptions(DecodingOptions(beam_size=50), RerankingOptions())
OTHER = CaptionOptions(DecodingOptions(beam_size=40), RerankingOptions())


class Fake:
    """Captions by name; fails for photos called bad."""

    def __init__(self):
        self.batches = []

    def stream(self, photos, decoding, reranking):
        self.batches.append([photo.name for photo in photos])
        for photo in photos:
            assert not photo.file.closed
            if photo.name == "bad":
                raise RuntimeError("bad")
            yield ImageCaptions(image=photo.name)


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def worker(fake):
    worker = CaptionWorker(lambda _: fake, 10)
    yield worker
    worker.stop(10.0)


def named(*names):
    return [NamedImage(name, io.BytesIO(b"x")) for name in names]


def test_what_waits_goes_together_if_its_options_are_equal(worker, fake):
    jobs = [*worker.submit(named("a", "b"), PLAIN), *worker.submit(named("c"), OTHER)]
    jobs += worker.submit(named("d", "e", "f"), PLAIN)
    assert PLAIN.batch == 16
    assert worker.waiting == 6
    worker.start()
    assert [job.result.result(10).image for job in jobs] == list("abcdef")
    assert fake.batches == [["a", "b", "d", "e", "f"], ["c"]]
    assert all(job.photo.file.closed for job in jobs)


def test_a_batch_has_an_end(fake):
    worker = CaptionWorker(lambda _: fake, 100)
    jobs = worker.submit(named(*map(str, range(20))), PLAIN)
    worker.start()
    worker.stop(30.0)
    assert [len(batch) for batch in fake.batches] == [16, 4]
    assert all(job.result.done() for job in jobs)


def test_one_that_fails_spares_its_batch(worker, fake):
    jobs = worker.submit(named("a", "bad", "c"), PLAIN)
    worker.start()
    assert jobs[0].result.result(10).image == "a"
    assert jobs[2].result.result(10).image == "c"
    with pytest.raises(RuntimeError, match="bad"):
        jobs[1].result.result(10)
    assert fake.batches == [["a", "bad", "c"], ["bad"], ["c"]]


def test_what_is_given_up_is_not_captioned(worker, fake):
    first, second = worker.submit(named("a"), PLAIN), worker.submit(named("b", "c"), PLAIN)
    worker.cancel(first)
    assert worker.waiting == 2
    second[0].result.cancel()  # without a word to the worker
    worker.start()
    assert second[1].result.result(10).image == "c"
    assert fake.batches == [["c"]]
    assert first[0].photo.file.closed


def test_the_queue_has_an_end(worker):
    worker.submit(named(*"abcdefghi"), PLAIN)
    with pytest.raises(QueueFullError, match="9 photos wait already, and 10 are the most"):
        worker.submit(named("j", "k"), PLAIN)
    worker.submit(named("j"), PLAIN)
    assert 1 <= worker.retry_after <= 120


def test_stopping_finishes_what_waits(worker):
    jobs = worker.submit(named("a", "b", "c", "d", "e"), PLAIN)
    worker.start()
    worker.stop(30.0)
    assert [job.result.result(0).image for job in jobs] == list("abcde")
    with pytest.raises(QueueFullError):
        worker.submit(named("f"), PLAIN)


def test_stopping_before_the_start_gives_up(worker):
    (job,) = worker.submit(named("a"), PLAIN)
    worker.stop(10.0)
    assert job.result.cancelled()
    assert job.photo.file.closed


def test_it_learns_how_long_a_photo_takes(fake):
    seconds = []
    worker = CaptionWorker(lambda _: fake, 10, seconds.append)
    before = worker.seconds_a_photo
    worker.start()
    worker.submit(named("a"), PLAIN)[0].result.result(10)
    worker.stop(10.0)
    assert len(seconds) == 1
    assert worker.seconds_a_photo < before
    assert worker.wait == 0
