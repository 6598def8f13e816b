import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.server.test_captions import png

cli_serve = importlib.import_module("mrnn.cli.serve")  # the package has the command by that name


@contextmanager
def served(*arguments, **environment):
    """The command as a process, and the address that it prints."""
    command = [sys.executable, "-m", "mrnn", "serve", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        env=os.environ | environment,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        address = re.fullmatch(r"Serving at (http://\S+)\n", line)
        assert address, line + process.stderr.read()
        yield process, address[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_runs(number, tmp_path):
    with served() as (process, url):
        sent = subprocess.Popen(
            ["curl", "--silent", "--data-binary", "@-", f"{url}v1/caption"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        sent.stdin.write(png(size=(2000, 1500)))
        sent.stdin.close()
        while "mrnn_photos_waiting 0" in httpx.get(f"{url}metrics").text and sent.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        assert json.loads(sent.stdout.read())["captions"]
        sent.wait(60)
        sent.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == "Ctrl-C stops it\nStopped\n"


@pytest.mark.slow
def test_other_computers_need_the_token():
    with served("--host", "0.0.0.0") as (_, url):
        address, token = url.split("?token=")
        assert address.startswith("http://127.0.0.1:")
        assert len(token) >= 24
        assert httpx.get(f"{address}v1/model").status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{address}v1/model", headers=headers).status_code == 200
        assert httpx.get(f"{address}healthz").status_code == 200


@pytest.mark.slow
def test_larger_photos_are_taken_if_the_command_says_so():
    with served("--max-upload", "1") as (_, url):
        answer = httpx.post(f"{url}v1/caption", content=bytes(2**20 + 1))
        assert answer.status_code == 413
        assert answer.json()["detail"] == "photo: too large (1.1 MB); send 1 MB at most"
        assert httpx.get(f"{url}v1/model").json()["limits"]["photo"] == 2**20


@pytest.mark.slow
def test_heads_that_never_come_are_given_up(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import mrnn.server.run as run\nrun.HEAD_SECONDS = 0.5\n"
    )
    with served(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}") as (_, url):
        port = int(re.search(r":(\d+)", url)[1])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert httpx.get(f"{url}healthz").status_code == 200
        for connection in slow:
            connection.settimeout(30)
            assert connection.recv(10) == b""
            connection.close()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--host", "nowhere.invalid"], "--host 'nowhere.invalid': no address of this computer"),
        (["--host", "192.0.2.1"], "--host '192.0.2.1': cannot listen there ("),
        (["--device", "cuda"], "--device cuda: this onnxruntime has "),
        (["--token", "short"], "--token: give 8 printable ASCII characters or more"),
        (["--token", "é" * 10], "--token: give 8 printable ASCII characters or more"),
    ],
)
def test_what_cannot_be_served(mrnn, arguments, line):
    code, out, told = mrnn("serve", "--port", 0, *arguments)
    assert (code, out) == (1, "")
    assert told.startswith(f"mrnn: {line}")


def test_a_busy_port_is_named(mrnn):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        code, out, told = mrnn("serve", "--port", port)
    expected = f"mrnn: --port {port} is in use; stop what uses it, or give another, or 0 for any\n"
    assert (code, out, told) == (1, "", expected)


def test_a_model_that_is_none(mrnn, tmp_path):
    code, _, told = mrnn("serve", "--port", 0, "--model", tmp_path)
    assert code == 1
    assert "is not a trained model" in told


def test_the_extra_is_named(mrnn, monkeypatch):
    monkeypatch.setattr(cli_serve, "find_spec", lambda name: None if name == "uvicorn" else name)
    code, _, told = mrnn("serve")
    expected = "mrnn: Serving needs Starlette and uvicorn. Run: pip install 'mrnn[serve]'\n"
    assert (code, told) == (1, expected)


def test_the_page_is_opened(monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: url == "http://localhost/" and opened.set())
    cli_serve._open("http://localhost/")
    assert opened.wait(30)
