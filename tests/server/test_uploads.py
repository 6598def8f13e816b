import socket
import time

import pytest

from mrnn.server.limits import MEBIBYTE, Limits
from tests.server.conftest import running, wait_for
from tests.server.test_captions import png


def exchange(port, *parts, pause=0.0, seconds=20):
    """What the server answers to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        answer = b""
        while True:
            try:
                some = connection.recv(65536)
            except ConnectionResetError:
                break
            if not some:
                break
            answer += some
        return answer.decode()


def head(length, path="/v1/caption", **more):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_that_is_too_large_is_refused(limited_service):
    with running(limited_service(body=100_000, photo=50_000)) as server, server.client() as client:
        told = client.post("/v1/caption", content=b"x" * 200_000)
        assert (told.status_code, told.headers["connection"]) == (413, "close")
        line = "the request: too large (0.2 MB); send 0.1 MB at most"
        assert told.json()["detail"] == line
        untold = client.post("/v1/caption", content=iter([b"x" * 60_000] * 4))
        assert untold.status_code == 413
        one = client.post("/v1/caption?name=big.png", content=b"x" * 60_000)
        assert one.status_code == 413
        assert one.json()["detail"].startswith("big.png: too large (0.1 MB)")
        form = client.post("/v1/caption", files=[("a", ("big.png", b"x" * 60_000))])
        assert form.json()["detail"].startswith("big.png: too large (0.1 MB)")
        assert server.service.spool.taken == 0
        assert client.post("/v1/caption", content=png()).status_code == 200


def test_a_byte_too_many_reads_as_more_than_what_is_taken(limited_service):
    with running(limited_service(body=MEBIBYTE)) as server, server.client() as client:
        answer = client.post("/v1/caption", content=b"x" * (MEBIBYTE + 1))
        assert answer.json()["detail"] == "the request: too large (1.1 MB); send 1 MB at most"


def test_larger_photos_may_be_allowed():
    limits = Limits().with_photos_of(300)
    assert limits.photo == 300 * MEBIBYTE < limits.body < limits.spool
    assert Limits().with_photos_of(50) == Limits()


def test_too_many_photos_or_fields(limited_service):
    with running(limited_service(photos=3, fields=2)) as server, server.client() as client:
        many = client.post("/v1/caption", files=[("a", ("a", png()))] * 4)
        assert many.status_code == 413
        assert many.json()["detail"] == "more than 3 photos in one request; send fewer at a time"
        fields = [("seed", (None, "1"))] * 3
        answer = client.post("/v1/caption", files=fields)
        assert (answer.status_code, answer.json()["detail"][:31]) == (
            400,
            "the form cannot be read (Too ma",
        )


def test_all_uploads_together_have_bounds(limited_service):
    service = limited_service(spool=100_000)
    with running(service) as server, server.client() as client:
        service.spool.taken += 90_000  # of others
        answer = client.post("/v1/caption", content=b"x" * 20_000)
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith("too many photos are being sent at once")
        assert answer.headers["retry-after"] == "10"
        assert service.spool.taken == 90_000


def test_a_byte_now_and_then_is_refused_and_others_are_served(limited_service):
    with running(limited_service(upload_seconds=0.5)) as server, server.client() as client:
        parts = [head(1000), *[b"x"] * 60]
        start = time.monotonic()
        answer = exchange(server.port, *parts, pause=0.1)
        assert answer.startswith("HTTP/1.1 408")
        assert "the request came too slowly" in answer
        assert "connection: close" in answer.lower()
        assert time.monotonic() - start < 20
        assert client.post("/v1/caption", content=png()).status_code == 200


def test_a_body_shorter_than_it_says(server, client):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(1000) + b"x" * 10)
    wait_for(lambda: 'status="499"' in client.get("/metrics").text)
    assert client.post("/v1/caption", content=png()).status_code == 200
    assert server.service.spool.taken == 0


def test_a_body_longer_than_it_says(server, client):
    photo = png()
    answer = exchange(server.port, head(len(photo)) + photo + b"more than that\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200")
    assert "HTTP/1.1 400" in answer
    assert client.post("/v1/caption", content=photo).status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1, 2", "9" * 40])
def test_lengths_that_are_none(server, client, length):
    answer = exchange(server.port, head(length), seconds=20)
    assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 413"))
    assert client.get("/healthz").status_code == 200


def test_a_client_that_waits_for_leave_is_refused_at_once(limited_service):
    with running(limited_service(body=1000)) as server:
        start = time.monotonic()
        answer = exchange(server.port, head(5000, Expect="100-continue"))
        assert answer.startswith("HTTP/1.1 413")
        assert time.monotonic() - start < 2.5  # less than it would linger


def test_large_photos_go_to_files_without_names(limited_service, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    service = limited_service()
    with running(service, work=False) as server, server.client() as client:
        with pytest.raises(Exception, match="timed out"):
            client.post("/v1/caption", content=b"x" * 500_000, timeout=0.5)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path", ["/nothing", "/v1/model", "/healthz"])
def test_a_body_that_nobody_reads(server, client, path):
    answer = client.post(path, content=b"x" * 3_000_000)
    assert answer.status_code in (404, 405)
    assert client.get("/healthz").status_code == 200
