"""A server on loopback with the tiny model, and a client of it; and what opens pages."""

import shutil
import subprocess
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
from mrnn.server.onnxruntime_web import VERSION, read_runtime
from mrnn.server.run import make_server
from mrnn.server.service import Service
from tests.server.browser import browser
from tests.server.static import serving


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


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    """onnxruntime-web, from npm."""
    folder = tmp_path_factory.mktemp("npm")
    if not shutil.which("npm"):
        pytest.skip("there is no npm")
    pack = ["npm", "pack", "--silent", f"onnxruntime-web@{VERSION}"]
    try:
        done = subprocess.run(pack, cwd=folder, capture_output=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("npm's registry does not answer")
    if done.returncode:
        pytest.skip("npm's registry cannot be reached")
    (package,) = folder.glob("*.tgz")
    yield read_runtime(package, print)
    shutil.rmtree(folder)


@pytest.fixture
def static_server(site):
    """Of the site that a module makes."""
    with serving(site) as opened:
        yield opened


@pytest.fixture(scope="module")
def chromium(request):
    """With the `FLAGS` of the module."""
    with browser(*getattr(request.module, "FLAGS", ())) as opened:
        yield opened


@pytest.fixture
def context(chromium):
    opened = chromium.new_context()
    yield opened
    opened.close()


def wait_for(condition, seconds=30):
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
