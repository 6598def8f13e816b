"""A server on loopback with the tiny model, and a client of it."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from mrnn.captioning.captioner import Captioner
from mrnn.server.access import Access
from mrnn.server.app import make_app
from mrnn.server.limits import Limits
from mrnn.server.listener import listen, url_of
from mrnn.server.run import make_server
from mrnn.server.service import Service


@dataclass
class Running:
    """A server that runs on a thread."""

    service: Service
    url: str
    port: int
    log: list[str] = field(default_factory=list)

    def client(self, **headers):
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)


@contextmanager
def running(service, access=None, *, work=True):
    """`work=False` leaves photos waiting until the worker is started."""
    log = []
    ready = threading.Event()
    with listen("127.0.0.1", 0) as listener:
        server = make_server(make_app(service, access or Access(), log.append), ready.set)
        thread = threading.Thread(target=server.run, args=([listener],))
        if work:
            service.worker.start()
        thread.start()
        assert ready.wait(60)
        try:
            yield Running(service, url_of(listener), listener.getsockname()[1], log)
        finally:
            server.should_exit = True
            thread.join(60)
            service.stop(60.0)
    assert log == []


@pytest.fixture
def service(confident_model, colour_tags):
    return Service(Captioner.load(confident_model), "1.2.3")


@pytest.fixture
def server(service):
    with running(service) as found:
        yield found


@pytest.fixture
def client(server):
    with server.client() as found:
        yield found


@pytest.fixture
def limited_service(confident_model):
    """Makes a service with limits."""
    return lambda **limits: Service(Captioner.load(confident_model), "1", Limits(**limits))


def wait_for(condition, seconds=30):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
