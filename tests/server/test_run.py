import asyncio
import errno
import socket

import pytest

from mrnn.errors import OptionsError
from mrnn.server.listener import listen, url_of
from mrnn.server.run import allow_open_files


def test_it_listens_where_it_is_told():
    with listen("127.0.0.1", 0) as one, listen("localhost", 0) as other:
        assert url_of(one) == f"http://127.0.0.1:{one.getsockname()[1]}/"
        assert url_of(other).startswith("http://")
    with listen("0.0.0.0", 0) as everywhere:
        assert url_of(everywhere).startswith("http://127.0.0.1:")


def test_small_answers_are_sent_at_once():
    """Else the body of each waits until the client has acknowledged its head: 40 ms."""

    async def sends_at_once(listener):
        found = asyncio.get_running_loop().create_future()

        async def on_client(_, writer):
            accepted = writer.get_extra_info("socket")
            found.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(on_client, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            answer = await found
            writer.close()
            return bool(answer)

    with listen("127.0.0.1", 0) as listener:
        assert asyncio.run(sends_at_once(listener))


def test_addresses_of_ip_6():
    class Listener(socket.socket):
        host = "::1"

        def getsockname(self):
            return (self.host, 80, 0, 0)

    with Listener() as listener:
        assert url_of(listener) == "http://[::1]:80/"
        listener.host = "::"
        assert url_of(listener) == "http://[::1]:80/"


def test_a_reserved_port(monkeypatch):
    def bind(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(OptionsError, match="--port 80 is reserved by the system; give one above"):
        listen("127.0.0.1", 80)


def test_open_files_are_allowed():
    resource = pytest.importorskip("resource", reason="the system has no limits")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allow_open_files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == before[1]
    assert soft >= min(before[0], 1024)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
